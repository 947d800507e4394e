import json
import re
import shutil
import sys

import numpy as np
import pytest
import torch

from pyrocount import evaluate
from pyrocount.run import Run
from pyrocount.suites import ASKED_FOR, SUITES

QUICK = "--samples 100 --checked 40 --train-observations 300"


@pytest.fixture(scope="module")
def fits(tmp_path_factory):
    """Fitted runs by their command line, for tests that fit the same."""
    return tmp_path_factory.mktemp("fits"), {}


@pytest.fixture
def fitted(command, tmp_path, fits):
    """Fits a model, or copies a fit of the same options, and returns its folder."""
    folder, known = fits

    def fit(options, name="run"):
        path = tmp_path / "runs" / name
        if not path.is_dir():
            if options not in known:
                assert command(f"{options} --name {name}")[0] == 0
                known[options] = shutil.copytree(path, folder / str(len(known)))
            shutil.copytree(known[options], path, dirs_exist_ok=True)
        return path

    return fit


@pytest.fixture
def run(fitted, capsys):
    """Fits a model, evaluates it, and gives exit code, output, errors and what the folder then holds."""

    def fit_and_evaluate(fit, line=QUICK, name="run"):
        path = fitted(fit, name)
        capsys.readouterr()
        code = evaluate.main([str(path), *line.split()])
        captured = capsys.readouterr()
        found = json.loads((path / "evaluation.json").read_text()) if (path / "evaluation.json").is_file() else None
        return code, captured.out, captured.err, found and found["suites"], path

    return fit_and_evaluate


POISSON = "--model poisson --estimator arrival --epochs 3 --latent-dim 6"


def test_all_suites_of_a_vae(run):
    code, out, err, found, path = run(POISSON, f"{QUICK} --images 300")
    assert code == 0
    assert out.splitlines()[-1] == str(path / "report.html")
    assert set(found) == set(SUITES) - {"recording", "co-smoothing", "inference-steps", *ASKED_FOR}
    assert all(suite["seconds"] > 0 for suite in found.values())
    assert "reconstruction ..." in err

    metrics = found["reconstruction"]["metrics"]
    summary = json.loads((path / "summary.json").read_text())
    # Other samples of the same held-out observations.
    assert metrics["nelbo"]["mean"] == pytest.approx(summary["nelbo"], rel=0.01)
    assert metrics["nelbo"]["low"] < metrics["nelbo"]["mean"] < metrics["nelbo"]["high"]
    assert 0 < metrics["ssim"]["mean"] < 1
    assert metrics["importance_weighted_gain_100"]["low"] > 0
    assert metrics["amortization_gap"]["high"] > 0

    assert {"fid_300_seeded", "kid_seeded"} <= set(found["generation"]["metrics"])
    assert "random weights" in found["generation"]["remarks"][0]
    assert 0.5 < found["representation"]["metrics"]["shattering"]["mean"] <= 1
    assert found["representation"]["metrics"]["shattering_observations"] == 300
    assert found["sparsity"]["metrics"]["zero_fraction"] == pytest.approx(summary["zero_fraction"], abs=0.01)
    assert len(found["diagnostics"]["checks"]) == 11
    assert found["diagnostics"]["metrics"]["hard_soft_gap"]["repeats"] == 40


def test_the_report_is_one_file_with_all(run):
    *_, found, path = run(POISSON, f"{QUICK} --suite sparsity,diagnostics")
    page = (path / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    # Nothing is fetched.
    addresses = re.findall(r"""(?:src|href)=["']?(.{5})""", page)
    assert len(addresses) > 5
    assert all(address == "data:" or address.startswith("#") for address in addresses)
    assert "http" not in page
    names = [name for suite in found.values() for name in suite["figures"]]
    assert page.count("data:image/png;base64,") == len(names) == 6
    for check in found["diagnostics"]["checks"]:
        assert f'"verdict {check["verdict"]}"' in page
    assert str(path.parent) not in page


def test_samples_are_kept_for_arviz(run):
    import xarray

    *_, path = run(POISSON, f"{QUICK} --suite diagnostics")
    with xarray.open_datatree(path / "posterior.nc") as tree:
        assert tree["posterior"]["z"].sizes == {"chain": 1, "draw": 100, "observation": 100, "latent": 6}
        assert tree["posterior"]["z"].dtype == np.int64
        assert tree["posterior"]["z"].values.max() > 0
    assert (path / "posterior.nc").stat().st_size < 3e6


def test_one_suite_keeps_the_others(run):
    *_, first, _ = run(POISSON, f"{QUICK} --suite sparsity,generation")
    *_, second, path = run(POISSON, f"{QUICK} --suite generation --seed 5")
    assert set(second) == {"sparsity", "generation"}
    assert second["sparsity"] == first["sparsity"]
    assert second["generation"]["settings"]["seed"] == 5
    # Held out are fewer images than published figures have.
    assert {"fid_359_seeded", "kid_seeded"} <= set(second["generation"]["metrics"])
    assert second["generation"]["metrics"] != first["generation"]["metrics"]
    assert "sparsity" in (path / "report.html").read_text()


def test_what_stands_in_the_way_is_a_remark(run, array):
    code, _, err, found, _ = run(
        f"{POISSON} --data {array}", f"{QUICK} --suite generation,representation,reconstruction"
    )
    assert code == 0
    (remark,) = found["generation"]["remarks"]
    assert remark == "fid: data: got observations of shape (6,), expected images"
    assert found["representation"]["remarks"] == [
        "labels: data: got table without labels, expected labels, in an array 'labels' of the file"
    ]
    assert "table without labels" in err
    assert "ssim" not in found["reconstruction"]["metrics"]


def test_few_observations_and_samples(run):
    *_, found, _ = run(
        POISSON,
        "--samples 20 --checked 40 --suite diagnostics,representation,generation --observations 60 --images 9000",
    )
    assert "k-hat: samples: got 20 samples, expected at least 25" in found["diagnostics"]["remarks"][0]
    assert {check["name"] for check in found["diagnostics"]["checks"]} >= {"dead latents"}
    remarks = " ".join(found["representation"]["remarks"])
    assert "knn with 200 labels: number: got 200 labels, expected 1 to 30 labels" in remarks
    assert "logistic with 20 labels a class: shots: got 20 labels of each class" in remarks
    assert "fid: images: got 9000 images, expected 128 to 359 images, the number of held-out ones" in " ".join(
        found["generation"]["remarks"]
    )


@pytest.mark.parametrize(
    ("fit", "expected"),
    [
        ("--model gaussian", {"importance", "pit", "calibration"}),
        ("--model categorical", {"importance", "pit", "calibration"}),
        ("--model lca --inference-steps 5", set()),
        (
            "--model iterative-poisson --test-steps 15 --train-steps 2",
            {"importance", "pit", "calibration", "rootogram"},
        ),
        ("--model predictive-coding --test-steps 15 --train-steps 2", set()),
    ],
)
def test_every_kind_of_model(run, fit, expected):
    suites = "--suite reconstruction,sparsity,generation,diagnostics"
    code, _, _, found, _ = run(f"{fit} --epochs 1 --latent-dim 6", f"{QUICK} {suites} --observations 40 --images 150")
    assert code == 0
    assert set(found["diagnostics"]["figures"]) == expected
    assert ("amortization_gap" in found["reconstruction"]["metrics"]) == (
        fit in ("--model gaussian", "--model categorical")
    )


def test_recorded_counts(run, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "spikes.npz", x=rng.poisson(200.0, (90, 5)), exposure=rng.uniform(50, 200, 90))
    fit = f"--model negbio --likelihood poisson --epochs 2 --latent-dim 3 --data {tmp_path / 'spikes.npz'}"
    *_, found, _ = run(fit, f"{QUICK} --suite reconstruction,generation,diagnostics")
    metrics = found["generation"]["metrics"]
    assert metrics["generated_mean"] == pytest.approx(metrics["data_mean"], rel=0.5)
    (table,) = found["diagnostics"]["tables"]
    assert [row[0] for row in table["rows"]] == ["mean", "Fano factor", "zero fraction", "maximum"]
    assert "rootogram" in found["diagnostics"]["figures"]


def test_a_spoilt_encoder_is_flagged(run):
    """The encoder of a fitted model, its last layer turned round, says the opposite of what it should."""
    fit = "--model poisson --epochs 40 --latent-dim 8 --lr 5e-3"
    line = "--suite diagnostics --samples 400 --checked 100"
    *_, before, path = run(fit, line)
    folder = Run(path)
    vae = folder.model
    with torch.no_grad():
        [weight for name, weight in vae.encoder.named_parameters() if name.endswith("weight")][-1].neg_()
    folder.save_weights(vae.state_dict(), folder.units)
    *_, after, _ = run(fit, line)
    for name in ("observations with k-hat above 0.7", "effective part of the samples"):
        first, second = (
            next(check for check in found["diagnostics"]["checks"] if check["name"] == name)
            for found in (before, after)
        )
        assert first["verdict"] in ("good", "doubtful")
        assert second["verdict"] == "bad"


def test_restarts_are_compared(run, tmp_path, capsys):
    run(POISSON, f"{QUICK} --suite sparsity", name="other")
    other = tmp_path / "runs" / "other"
    *_, found, path = run(POISSON, f"{QUICK} --suite diagnostics --restarts {other}")
    (row,) = found["diagnostics"]["tables"][-1]["rows"]
    # Of one seed.
    assert row[:2] == ["other", pytest.approx(1)]
    run("--model poisson --epochs 1 --latent-dim 5", f"{QUICK} --suite sparsity", name="third")
    assert evaluate.main([str(path), "--suite", "diagnostics", "--restarts", str(tmp_path / "runs" / "third")]) == 2
    assert "--restarts: got" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("nowhere", "path: got nowhere, whose model.safetensors cannot be read, expected a finished run"),
        ("{run} --suite all", "--suite: got 'all', expected some of recording"),
        ("{run} --samples 0", "--samples: got 0, expected a whole number from 2"),
        ("{run} --images 0", "--images: got 0, expected a whole number from 1"),
        ("{run} --seed -1", "--seed: got -1, expected a whole number from 0"),
        ("{run} --steps 0", "--steps: got 0, expected a whole number from 1"),
        ("{run} --restarts a/run b/run", "--restarts: got a/run b/run, expected folders of different names"),
        ("{run} --frames", "unrecognized arguments: --frames; --help lists the options"),
        ("{run} --device cuda", "device: got cuda, but torch finds no CUDA device"),
    ],
)
def test_bad_input(fitted, capsys, line, problem, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path = fitted(POISSON)
    capsys.readouterr()
    assert evaluate.main(line.format(run=path).split()) == 2
    (last,) = capsys.readouterr().err.splitlines()
    assert problem in last


def test_a_suite_that_breaks_does_not_stop_the_others(run, monkeypatch, capsys):
    *_, path = run(POISSON, f"{QUICK} --suite generation")

    def broken(subject):
        raise RuntimeError("no memory")

    monkeypatch.setitem(SUITES, "reconstruction", broken)
    with pytest.raises(RuntimeError, match="no memory"):
        evaluate.main([str(path), "--suite", "reconstruction,sparsity", *QUICK.split()])
    assert "reconstruction stopped: no memory" in capsys.readouterr().err
    assert set(json.loads((path / "evaluation.json").read_text())["suites"]) == {"generation", "sparsity"}
    assert 'id="sparsity"' in (path / "report.html").read_text()


def test_an_evaluation_of_a_newer_version(run, capsys):
    *_, path = run(POISSON, f"{QUICK} --suite sparsity")
    (path / "evaluation.json").write_text('{"version": 3, "suites": {}}')
    assert evaluate.main([str(path)]) == 2
    assert "whose evaluation.json is of version 3, expected an evaluation.json of version 2" in capsys.readouterr().err
    assert json.loads((path / "evaluation.json").read_text())["version"] == 3


def test_without_the_extra_the_rest_runs(run, monkeypatch):
    for module in ("skimage.metrics", "arviz_stats.base", "torch_fidelity"):
        monkeypatch.setitem(sys.modules, module, None)
    code, _, _, found, _ = run(POISSON, f"{QUICK} --images 300 --suite reconstruction,generation,diagnostics")
    assert code == 0
    for suite, name in (("reconstruction", "ssim"), ("generation", "fid"), ("diagnostics", "k-hat")):
        assert any(name in remark and "pyrocount[evaluate]" in remark for remark in found[suite]["remarks"])


def test_suites_that_are_asked_for(run):
    code, out, err, found, path = run(POISSON, f"{QUICK} --suite {','.join(ASKED_FOR)}")
    assert code == 0
    assert set(found) == set(ASKED_FOR)
    steps = {"serial-dependence", "latency"}
    assert {name for name, suite in found.items() if suite["remarks"] and not suite["metrics"]} == steps
    assert err.count("a model that infers without steps, expected a model of iterative inference") == len(steps)
    names = [name for suite in found.values() for name in suite["figures"]]
    assert {"sensitivity", "perturbations", "energy", "reaction_time", "exciting_inputs"} == set(names)
    assert all((path / "figures" / f"{name}.png").is_file() for name in names)
    assert "spikes_per_observation" in out
    assert 'id="reaction-time"' in (path / "report.html").read_text()
