"""Evaluation protocols of publications: each measures in its own way, and their results stand beside each other."""

import importlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from pyrocount import evaluate
from pyrocount.backends import Backend
from pyrocount.errors import InputError
from pyrocount.fit import main
from pyrocount.metrics import lifetime_sparsity
from pyrocount.metrics.representation import halves
from pyrocount.run import Run, load
from pyrocount.suites import EvaluationContext
from pyrocount.suites.generation import generation
from pyrocount.suites.protocols import PROTOCOLS
from pyrocount.suites.report import report
from pyrocount.suites.representation import representation
from pyrocount.suites.run import suites_of
from pyrocount.suites.sparsity import sparsity
from pyrocount.sweeps.comparison import compare, read_runs
from pyrocount.sweeps.tables import table

# The package gives the names of these modules to their suites.
GENERATION, REPRESENTATION = (
    importlib.import_module(f"pyrocount.suites.{name}") for name in ("generation", "representation")
)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A fitted model of the digits."""
    folder = tmp_path_factory.mktemp("fitted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Backend, "draw", lambda *arguments: {})
        assert main(["--model", "poisson", "--epochs", "2", "--latent-dim", "6", "--out", str(folder)]) == 0
    return folder / "poisson-digits-0"


@pytest.fixture
def run(fitted, tmp_path):
    return shutil.copytree(fitted, tmp_path / "run")


@pytest.fixture
def context(fitted):
    """The context of an evaluation of all held-out digits, by a protocol."""
    loaded = load(fitted)

    def of(protocol):
        return EvaluationContext(
            model=loaded.backend,
            beta=1.0,
            data=loaded.data(),
            observations=359,
            train_observations=400,
            samples=10,
            checked=10,
            images=(200,),
            inception_weights=None,
            held_out=0.25,
            seed=0,
            protocol=PROTOCOLS[protocol],
        )

    return of


def stored(run):
    return json.loads((run / "evaluation.json").read_text())


def test_nearest_neighbours_of_the_poisson_vae(context, monkeypatch):
    """Labels of the first half of the test set, in its order; all of them make a single draw."""
    monkeypatch.setattr(REPRESENTATION, "LABELS", (50, 179))
    subject = context("pvae")
    metrics = representation(subject).metrics
    assert set(metrics) == {"knn_50", "knn_179", "shattering", "shattering_observations"}
    assert len(metrics["knn_50"].runs) == 100
    codes, labels = subject.model.code(subject.data.test_units()), subject.data.test_labels
    expected = KNeighborsClassifier(5).fit(codes[:179], labels[:179]).score(codes[179:], labels[179:])
    # The codes of a batch of other rows differ in the last digit, which may turn a vote.
    assert metrics["knn_179"].runs == pytest.approx((expected,), abs=1.5 / 180)
    train, taught = subject.model.code(subject.data.train_units(400)), subject.data.train_labels[:400]
    scores = [
        LogisticRegression(max_iter=2000).fit(train, np.isin(taught, part)).score(codes, np.isin(labels, part))
        for part in halves(range(10))[:5]
    ]
    assert metrics["shattering"].runs[:5] == pytest.approx(scores, abs=2 / 359)


def test_few_shots_and_probes_of_the_negative_binomial_vae(context, monkeypatch):
    monkeypatch.setattr(REPRESENTATION, "LABELS", (50,))
    subject = context("negbio")
    metrics = representation(subject).metrics
    assert set(metrics) == {
        *("logistic_50", "logistic_all", "logistic_all_observations", "shattering", "shattering_observations"),
        *(f"{name}_{shots}_shot" for name in ("knn", "logistic") for shots in (1, 5, 10, 20)),
    }
    codes, labels = subject.model.code(subject.data.test_units()), subject.data.test_labels
    train, taught = subject.model.code(subject.data.train_units(400)), subject.data.train_labels[:400]
    everything = LogisticRegression(max_iter=2000).fit(train, taught).score(codes, labels)
    assert metrics["logistic_all"] == pytest.approx(everything, abs=1.5 / 359)
    assert (metrics["logistic_all_observations"], metrics["shattering_observations"]) == (400, 200)
    assert len(metrics["shattering"].runs) == len(metrics["logistic_50"].runs) == 10
    # The labels of few shots are of the training set, and all of the test set is tested: accuracies are of 359.
    order = np.random.default_rng((0, 3)).permutation(400)
    given = np.concatenate([order[taught[order] == one][:5] for one in range(10)])
    expected = KNeighborsClassifier(3).fit(train[given], taught[given]).score(codes, labels)
    assert metrics["knn_5_shot"].runs[3] == pytest.approx(expected, abs=2.5 / 359)


def test_protocols_leave_other_suites_as_they_are():
    assert set(suites_of("sparsity,representation@negbio", "pvae")) == {"sparsity@pvae", "representation@negbio"}
    with pytest.raises(InputError, match=r"--suite: got 'diagnostics', .* expected some of representation, sparsity"):
        suites_of("diagnostics", "pvae")
    with pytest.raises(InputError, match="--protocol: got 'other', expected one of pyrocount, pvae, negbio"):
        suites_of("sparsity@other")


def test_generated_images_are_compared_with_training_images(context, monkeypatch):
    taken = []

    def record(real, generated, **options):
        taken.append((real, len(generated)))
        raise InputError("fid", "enough", "nothing more")

    monkeypatch.setattr(GENERATION, "generation_distances", record)
    for protocol, part in (("pyrocount", "test_units"), ("negbio", "train_units")):
        subject = context(protocol)
        generation(subject)
        real, generated = taken.pop()
        assert len(real) == generated == 200
        known = {image.tobytes() for image in subject.unit_range(getattr(subject.data, part)())}
        assert all(image.tobytes() in known for image in real)


def test_silent_latents_count_by_protocol(context, monkeypatch):
    ours, theirs = context("pyrocount"), context("pvae")
    counts = np.random.default_rng(0).poisson(0.5, (2, 50, 6)).astype(np.float32)
    counts[..., 4:] = 0
    counts[:, :10] = 0
    for subject in (ours, theirs):
        subject.__dict__["evaluation"] = replace(subject.evaluation, counts=counts)
    first, second = sparsity(ours).metrics, sparsity(theirs).metrics
    active = lifetime_sparsity(counts[..., :4])
    assert first["lifetime_sparsity"] == pytest.approx(active)
    assert second["lifetime_sparsity"] == pytest.approx((4 * active + 2) / 6)
    silent = (counts == 0).all(2).mean()
    assert second["population_sparsity"] == pytest.approx((1 - silent) * first["population_sparsity"] + silent)
    assert second["zero_fraction"] == first["zero_fraction"]


def test_results_of_protocols_stand_beside_each_other(run, capsys):
    quick = ["--train-observations", "300", "--observations", "200"]
    for protocol in ("pyrocount", "pvae"):
        assert evaluate.main([str(run), "--suite", "sparsity", "--protocol", protocol, *quick]) == 0
    out = capsys.readouterr().out
    assert "sparsity (protocol pyrocount, " in out
    assert "sparsity@pvae (protocol pvae, " in out
    first = stored(run)["suites"]
    assert set(first) == {"sparsity", "sparsity@pvae"}
    assert [found["settings"]["protocol"] for found in first.values()] == ["pyrocount", "pvae"]
    assert (run / "figures" / "information.png").is_file()
    assert (run / "figures" / "information@pvae.png").is_file()
    assert evaluate.main([str(run), "--protocol", "pvae", *quick]) == 0
    second = stored(run)["suites"]
    assert set(second) == {"sparsity", "sparsity@pvae", "representation@pvae"}
    assert second["sparsity"] == first["sparsity"]
    page = (run / "report.html").read_text()
    assert "representation, protocol pvae" in page
    assert "Information and selectivity of the latents, protocol pvae" in page
    assert "<th>pyrocount</th><th>pvae</th>" in page

    (row,) = compare(read_runs([run]), "sparsity@pvae.mean_rate")
    assert row.mean["sparsity.mean_rate"] == row.mean["sparsity@pvae.mean_rate"]
    assert "\nsparsity@pvae" in table([row], "sparsity@pvae.mean_rate")


def test_an_evaluation_without_protocols_is_read(run, capsys):
    """Evaluations of earlier versions do not say by which protocol; it was ours."""
    assert evaluate.main([str(run), "--suite", "sparsity", "--observations", "50"]) == 0
    old = stored(run)
    del old["suites"]["sparsity"]["settings"]["protocol"]
    (run / "evaluation.json").write_text(json.dumps(old))
    assert evaluate.main([str(run), "--suite", "sparsity@pvae", "--observations", "50"]) == 0
    assert set(stored(run)["suites"]) == {"sparsity", "sparsity@pvae"}
    assert "<th>pyrocount</th><th>pvae</th>" in (run / "report.html").read_text()
    known = Run(run)
    suites = {"sparsity": old["suites"]["sparsity"]}
    assert "Protocols" not in report(known.config.options, suites, run / "figures")
