"""The commands out_of_distribution and refine, on runs of both backends."""

import json
import shlex
import shutil

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from pyrocount import out_of_distribution, refine
from pyrocount.backends import Backend
from pyrocount.fit import main
from pyrocount.run import Run


def summary(run):
    return json.loads((run / "summary.json").read_text())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two fitted models of small images, an amortised and an iterative one."""
    folder = tmp_path_factory.mktemp("fitted")
    images = folder / "images.npy"
    rng = np.random.default_rng(0)
    np.save(images, (rng.random((60, 3)) @ rng.random((3, 36))).reshape(60, 1, 6, 6))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Backend, "draw", lambda *arguments: {})
        fit_both(folder, images)
    return folder


def fit_both(folder, images):
    for model in ("poisson", "iterative-poisson"):
        steps = "--train-steps 8 --test-steps 8" if model.startswith("iter") else "--encoder lin --decoder lin"
        line = f"--model {model} --data {images} --epochs 200 --lr .02 --latent-dim 8 {steps}"
        assert main([*shlex.split(line), "--name", model, "--out", str(folder)]) == 0


@pytest.mark.parametrize("model", ["poisson", "iterative-poisson"])
def test_out_of_distribution(model, runs, tmp_path, capsys):
    other = tmp_path / "noise.npy"
    np.save(other, np.random.default_rng(1).random((30, 1, 6, 6)))
    capsys.readouterr()
    line = [str(runs / model), "--rotations", "30", "--shifts", "2", "--other", str(other)]
    assert out_of_distribution.main(line) == 0
    rows = capsys.readouterr().out.splitlines()
    found = json.loads((runs / model / "out_of_distribution.json").read_text())
    inputs = found["inputs"]
    assert list(inputs) == ["held out", "rotated by 30", "shifted by 2", "noise"]
    assert rows[1].startswith("held out")
    assert inputs["held out"]["mse"] == pytest.approx(summary(runs / model)["mse"], rel=0.3)
    assert inputs["held out"]["r2"] > inputs["noise"]["r2"]
    assert inputs["held out"]["mse"] < inputs["shifted by 2"]["mse"]
    assert (runs / model / "figures" / "out_of_distribution.png").is_file()


def test_accuracy_out_of_distribution_and_parameters(runs, tmp_path, capsys):
    """Labels that rotation leaves, and those of another set with classes of its own."""
    path = shutil.copytree(runs / "poisson", tmp_path / "known")
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 60)
    images = rng.random((60, 1, 6, 6)) / 2
    # One class is bright above, the other below: half a turn makes each the other.
    images[labels == 0, :, :3] += 2
    images[labels == 1, :, 3:] += 2
    np.savez(tmp_path / "known.npz", x=images, labels=labels)
    np.savez(tmp_path / "others.npz", x=images[:, :, ::-1], labels=labels + 5)
    line = f"--model poisson --data {tmp_path / 'known.npz'} --epochs 100 --lr .02 --latent-dim 4 --decoder lin"
    assert main([*shlex.split(line), "--encoder", "lin", "--name", "halves", "--out", str(tmp_path)]) == 0
    capsys.readouterr()
    other = ["--rotations", "180", "--shifts", "1", "--other", str(tmp_path / "others.npz")]
    assert out_of_distribution.main([str(tmp_path / "halves"), str(path), *other]) == 0
    out = capsys.readouterr().out
    found = json.loads((tmp_path / "halves" / "out_of_distribution.json").read_text())
    turned, others = found["inputs"]["rotated by 180"], found["inputs"]["others"]
    assert found["inputs"]["held out"]["knn_accuracy"] == found["inputs"]["held out"]["knn_transfer"] == 1
    assert (turned["knn_accuracy"], turned["logistic_accuracy"]) == (1, 1)
    assert (turned["knn_transfer"], turned["logistic_transfer"]) == (0, 0)
    assert (others["knn_accuracy"], "knn_transfer" in others) == (1, False)
    halves = Run(tmp_path / "halves")
    x, train = (halves.data().test_view[:], halves.data().train_view[:])
    moved = halves.backend.code(out_of_distribution.shifted(x, 1))
    probe = KNeighborsClassifier(5).fit(halves.backend.code(train, seed=1), halves.data().train_labels)
    expected = probe.score(moved, halves.data().test_labels)
    assert found["inputs"]["shifted by 1"]["knn_transfer"] == pytest.approx(expected)
    # The run without labels has no accuracy.
    unlabelled = json.loads((path / "out_of_distribution.json").read_text())["inputs"]["held out"]
    assert not any("accuracy" in name or "transfer" in name for name in unlabelled)

    # Affine maps of 36 pixels to the log rates of 4 latents, and back; the rates of the prior.
    counts = {"encoder": 36 * 4 + 4, "decoder": 4 * 36 + 36, "total": 36 * 4 + 4 + 4 * 36 + 36 + 4}
    assert found["parameters"] == counts
    assert [row.split() for row in out.splitlines() if row.startswith("halves  ")] == [
        ["halves", *(str(counts[name]) for name in ("encoder", "decoder", "total"))]
    ]
    assert out.splitlines()[-2:] == [str(tmp_path / "halves"), str(path)]


def test_iterative_models_have_no_encoder(runs):
    run = Run(runs / "iterative-poisson")
    counts = run.backend.parameter_counts(run.config)
    # Beside the decoder, eight rates of the prior, eight biases of the steps, and their size.
    decoder = 36 * 8 + 36
    assert counts == {"encoder": 0, "decoder": decoder, "total": decoder + 8 + 8 + 1}


def test_out_of_distribution_of_what_does_not_fit(runs, tmp_path, capsys):
    other = tmp_path / "wide.npy"
    np.save(other, np.random.default_rng(1).random((30, 1, 6, 8)))
    assert out_of_distribution.main([str(runs / "poisson"), "--other", str(other)]) == 2
    assert "other: got" in capsys.readouterr().err
    assert out_of_distribution.main([str(tmp_path)]) == 2
    assert out_of_distribution.main([str(runs / "poisson"), "--train-observations", "1"]) == 2
    assert "--train-observations: got 1, expected a whole number from 2" in capsys.readouterr().err


def test_hybrid_inference_makes_up_for_a_bad_encoder(runs, tmp_path, capsys):
    """One that gives every input the same posterior; how much a good one gains is less than the noise of few inputs."""
    run = Run(shutil.copytree(runs / "poisson", tmp_path / "poisson"))
    weights, _ = run.load_weights()
    run.save_weights({name: 0 * w if name.startswith("encoder") else w for name, w in weights.items()}, run.units)
    assert refine.main([str(run.path), "--steps", "100", "--step-size", "0.03"]) == 0
    found = run.read_json("refinement.json")
    assert list(found) == ["encoder", "from the encoder", "from the prior"]
    assert found["from the encoder"]["mse"] < 0.8 * found["encoder"]["mse"]
    assert found["from the encoder"]["nelbo"] < found["encoder"]["nelbo"] - 2
    assert (run.path / "figures" / "refinement.png").is_file()
    assert "from the prior" in capsys.readouterr().out


def test_refinement_without_jax(runs, without_jax, capsys):
    assert refine.main([str(runs / "poisson")]) == 2
    assert "refine: got iterative inference, which needs jax" in capsys.readouterr().err


def test_refinement_of_what_cannot_be_refined(runs, capsys):
    assert refine.main([str(runs / "iterative-poisson")]) == 2
    assert "RUN: got" in capsys.readouterr().err
    assert refine.main([str(runs / "poisson"), "--step-size", "0"]) == 2
    assert "step_size: got 0.0, expected a positive number" in capsys.readouterr().err
