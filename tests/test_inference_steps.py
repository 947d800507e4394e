"""Fit and codes of iterative models over the steps of their inference."""

import json

import jax
import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pyrocount import evaluate, figures
from pyrocount.backends import as_backend, derived_seed
from pyrocount.backends.iterative_evaluation import evaluate_iterative
from pyrocount.backends.iterative_model import make_iterative, with_parameters
from pyrocount.errors import InputError
from pyrocount.inference.natural_gradient import infer, states_after
from pyrocount.models import make_vae
from pyrocount.run import Run
from pyrocount.suites.inference_steps import doubled

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 6)).astype(np.float32)
FIT = "--model iterative-poisson --epochs 4 --latent-dim 12 --train-steps 4 --test-steps 20"


def small(kind="iterative-poisson", **options):
    torch.manual_seed(0)
    model = make_iterative(kind, (6,), latent_dim=4, initial_rate=1.0, step_size=0.2, **options)
    return with_parameters(model, {"decoder.0.weight": 0.5 * jax.random.normal(jax.random.key(0), (6, 4))})


def test_states_are_those_of_one_inference():
    model, key = small(), jax.random.key(3)
    problem = model.problem(X)
    states = list(states_after(key, problem, X, times=[1, 2, 7]))
    for steps, state in zip((1, 2, 7), states, strict=True):
        whole = infer(key, problem, X, steps=steps).state
        np.testing.assert_allclose(state.potentials, whole.potentials, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(state.z, whole.z)


@pytest.mark.parametrize("times", [[], [0, 1], [2, 2], [3, 1]])
def test_times_increase(times):
    with pytest.raises(InputError, match=r"times: got .* expected positive numbers of steps, increasing"):
        list(small().states(X, times=times))


@pytest.mark.parametrize(
    ("kind", "options"), [("iterative-poisson", {}), ("iterative-gaussian", {"activation": "relu"})]
)
def test_steps_fit_and_read_as_the_state_does(kind, options):
    model = small(kind, **options)
    x = np.concatenate([X, np.ones((1, 6), np.float32)])
    found = as_backend(model, steps=9).inference_steps(x, times=[2, 9])
    assert found.times.tolist() == [2, 9]
    assert found.codes.shape == found.means.shape == (2, 13, 4)
    assert np.isnan(found.r2[:, -1]).all()
    assert not found.diverged[:, -1].any()
    # Oracles of the last state, inferred anew with the seed of its batch.
    last = model.infer(x, steps=9, seed=derived_seed(0, 0)).state
    whole = evaluate_iterative(model, x, steps=9, seed=derived_seed(0, 0))
    np.testing.assert_allclose(found.r2[1], whole.per_observation["r2"], rtol=1e-5)
    assert found.diverged[1].mean() == pytest.approx(whole.metrics["diverged"])
    potential = np.asarray(last.potentials if kind == "iterative-poisson" else last.potentials[0])
    name = "prior.log_rate" if kind == "iterative-poisson" else "prior.loc"
    np.testing.assert_allclose(found.codes[1], potential - np.asarray(model.parameters[name]), rtol=1e-4, atol=1e-5)
    means = np.exp(potential) if kind == "iterative-poisson" else np.maximum(potential, 0)
    np.testing.assert_allclose(found.means[1], means, rtol=1e-5)


def test_what_runs_away_is_told_at_its_step():
    """An error of twice the variance is an R^2 of -1."""
    wild = with_parameters(small(), {"step.log_size": np.log(np.float32(300.0))})
    found = as_backend(wild, steps=30).inference_steps(5 * X, times=[1, 30])
    assert np.isfinite(found.r2).all()
    np.testing.assert_array_equal(found.diverged, found.r2 < -1)
    assert found.diverged.any()
    assert not found.diverged.all()


def test_a_model_with_an_encoder_has_no_steps():
    vae = as_backend(make_vae("poisson", (6,), latent_dim=4))
    assert vae.steps is None
    assert vae.inference_steps(X, times=[1]) is None


def test_numbers_of_steps():
    assert doubled(1) == [1]
    assert doubled(8) == [1, 2, 4, 8]
    assert doubled(1000) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000]


def test_the_suite(command, tmp_path, capsys):
    assert command(f"{FIT} --name it")[0] == 0
    path = tmp_path / "runs" / "it"
    assert evaluate.main([str(path), "--suite", "inference-steps", "--train-observations", "300"]) == 0
    found = json.loads((path / "evaluation.json").read_text())["suites"]["inference-steps"]
    (table,) = found["tables"]
    assert table["header"][:4] == ["steps", "mean R^2", "median R^2", "diverged"]
    assert [row[0] for row in table["rows"]] == [1, 2, 4, 8, 16, 20]
    metrics, last = found["metrics"], table["rows"][-1]
    assert [metrics["r2"]["mean"], metrics["r2_median"], metrics["diverged"]] == pytest.approx(last[1:4])
    assert [metrics["accuracy"]["mean"], metrics["accuracy_of_means"]["mean"]] == pytest.approx(last[4:])
    assert (metrics["steps"], metrics["observations"]) == (20, 359)
    assert metrics["accuracy_step"] in (1, 2, 4, 8, 16, 20)
    assert (path / "figures" / "inference_steps.png").is_file()
    assert "Fit and accuracy over the steps of inference" in (path / "report.html").read_text()

    # An oracle of the accuracy: codes of other samples, read by scikit-learn.
    run = Run(path)
    data, backend = run.data(), run.backend
    codes, tested = backend.code(data.train_units(300), seed=5), backend.code(data.test_units(), seed=6)
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(codes, data.train_labels[:300])
    # Two accuracies of 359 observations, 4 standard errors of their difference apart.
    assert last[4] == pytest.approx(probe.score(tested, data.test_labels), abs=4 * np.sqrt(2 * 0.25 / 359))


def test_the_suite_of_what_has_no_labels_or_no_steps(command, tmp_path, array, capsys):
    assert command(f"{FIT} --name it --data {array} --latent-dim 4 --epochs 1")[0] == 0
    assert command("--model poisson --epochs 1 --latent-dim 4 --name vae")[0] == 0
    for name in ("it", "vae"):
        assert evaluate.main([str(tmp_path / "runs" / name), "--suite", "inference-steps"]) == 0
    without, vae = (
        json.loads((tmp_path / "runs" / name / "evaluation.json").read_text())["suites"]["inference-steps"]
        for name in ("it", "vae")
    )
    assert without["remarks"] == [
        "accuracy: data: got table without labels, expected labels, in an array 'labels' of the file"
    ]
    assert "r2" in without["metrics"]
    assert "accuracy" not in without["metrics"]
    assert without["tables"][0]["rows"][0][4:] == [None, None]
    assert vae["metrics"] == {}
    assert "RUN: got a model that does not infer in steps" in vae["remarks"][0]


def test_the_figure_shows_what_there_is():
    values = np.array([0.1, 0.5, 0.7])
    curves = {"r2": np.array([0.1, 0.5, -70.0]), "r2_median": values, "diverged": values, "codes": values}
    figure = figures.fit_over_steps(np.array([1, 2, 4]), curves | {"means": np.full(3, np.nan)})
    fit, runaway, read = figure.axes
    assert fit.get_ylim()[0] == -0.5
    assert runaway.lines[0].get_xdata().tolist() == [1, 2, 4]
    np.testing.assert_array_equal(read.lines[0].get_ydata(), values)
