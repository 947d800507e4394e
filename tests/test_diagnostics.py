"""Diagnostics of exact posteriors, which pass, and of bad ones, which do not."""

import itertools
import json

import numpy as np
import pytest
import torch
from scipy import stats

from pyrocount.backends import Backend, Draws, Evaluation, to_arviz
from pyrocount.backends.iterative_model import make_iterative
from pyrocount.data import from_array
from pyrocount.diagnostics import (
    chance_distance,
    match_latents,
    predictive_checks,
    randomised_pit,
    ranks,
    rootogram,
    uniformity_distance,
)
from pyrocount.errors import InputError
from pyrocount.models import GaussianLikelihood, make_vae
from pyrocount.suites import EvaluationContext
from pyrocount.suites.diagnostics import diagnostics

RATES = np.array([1.5, 0.8])
COLUMNS = np.array([[1.0, -0.5, 0.3, 0.0], [0.2, 0.8, 0.0, -0.6]])
NOISE = 0.7
COUNTS = np.array(list(itertools.product(range(14), repeat=2)))


class Enumerated(Backend):
    """Two Poisson latents, four Gaussian features, and a guide by its probabilities of all counts up to 13.

    The guide is the exact posterior, computed by brute force, spoilt: its rates are multiplied by a factor.
    """

    shape, latent_dim, has_counts, has_density, likelihood = (4,), 2, True, True, GaussianLikelihood()
    adapt = train = load_weights = to = None  # It is measured only.

    def __init__(self, factor=1.0):
        self.factor = factor
        self.log_prior = stats.poisson.logpmf(COUNTS, RATES).sum(1)

    def _log_likelihood(self, x):
        return stats.norm.logpdf(x[:, None], COUNTS @ COLUMNS, NOISE).sum(2)

    def _log_guide(self, x):
        spoilt = self.log_prior + self._log_likelihood(x) + COUNTS.sum(1) * np.log(self.factor)
        return spoilt - np.logaddexp.reduce(spoilt, axis=1, keepdims=True)

    def _sampler(self, x, exposure, seed, replicate):
        log_guide, log_likelihood = self._log_guide(x), self._log_likelihood(x)

        def sample(numbers):
            rng = np.random.default_rng((seed, numbers.start))
            uniform = rng.random((len(numbers), len(x), 1))
            places = np.minimum((uniform > np.exp(log_guide).cumsum(1)).sum(2), len(COUNTS) - 1)
            rows = np.arange(len(x))
            z = COUNTS[places].astype(float)
            weights = log_likelihood[rows, places], self.log_prior[places], log_guide[rows, places]
            if not replicate:
                return Draws(z, *weights)
            mean = z @ COLUMNS
            return Draws(z, *weights, rng.normal(mean, NOISE), stats.norm.logpdf(x, mean, NOISE))

        return sample

    def prior_latents(self, number, *, seed=0):
        return np.random.default_rng((seed, 7)).poisson(RATES, (number, 2)).astype(float)

    def _generate(self, z, exposure, seed):
        return z @ COLUMNS, np.random.default_rng((seed, 8)).normal(z @ COLUMNS, NOISE)

    def evaluate(self, x, exposure=None, *, beta=1.0, seed=0, quick=False):
        drawn = self.draws(x, samples=50, seed=seed)
        metrics = {"active_latents": 2, "kl": 1.0}
        moments = np.ones(2), drawn.z.mean(0), drawn.z.var(0)
        each = {"nll": -drawn.log_likelihood[0], "nelbo": -drawn.log_weights.mean(0)}
        return Evaluation(metrics, drawn.z[:1], np.zeros_like(x), *moments, each)

    def weights(self):
        return {"likelihood.log_scale": torch.tensor(NOISE).log()}

    def relaxed(self, x, exposure=None, *, seed=0):
        return None

    def parameter_counts(self, config):
        raise NotImplementedError

    def dictionary(self):
        return COLUMNS

    def _code(self, x, exposure, seed):
        raise NotImplementedError

    def mean_of_code(self, code):
        raise NotImplementedError

    def decoded(self, z, x, exposure=None):
        raise NotImplementedError


def context(backend, checked=500):
    _, _, x = backend.prior_draws(checked, seed=3)
    data = from_array(x.astype(np.float32), scaling="none")
    options = {
        "train_observations": 10,
        "samples": 1000,
        "images": (),
        "inception_weights": None,
        "held_out": 0.25,
        "seed": 0,
    }
    return EvaluationContext(backend, 1.0, data, observations=checked, checked=checked, **options)


def verdicts(backend):
    result = diagnostics(context(backend))
    return {check.name: check.verdict for check in result.checks}, result


def test_an_exact_guide_passes_all_checks():
    found, result = verdicts(Enumerated())
    assert set(found.values()) == {"good"}
    assert len(found) == 10
    # All weights of an observation are its evidence.
    assert result.metrics["effective_samples"].mean == pytest.approx(1000)
    assert result.metrics["sbc_distance"] < 2 * chance_distance(500)


@pytest.mark.parametrize("factor", [0.15, 6.0])
def test_a_bad_guide_is_flagged(factor):
    found, result = verdicts(Enumerated(factor))
    assert found["distance of the calibration ranks from uniform, beyond chance"] == "bad"
    assert result.metrics["sbc_distance"] > 4 * chance_distance(500)
    assert found["dead latents"] == "good"
    assert found["distance of the aggregate posterior from the prior, beyond chance"] == "bad"
    assert found["error of the predicted statistics"] == "bad"
    assert found["effective part of the samples"] == "doubtful"


def test_ties_are_broken_at_random():
    """All draws and values are 0: the ranks are uniform on 0 to S."""
    rank = ranks(np.zeros(20_000), np.zeros((9, 20_000)))
    observed = np.bincount(rank, minlength=10)
    assert stats.chisquare(observed).pvalue > 1e-3
    assert len(observed) == 10


@pytest.mark.parametrize(("shift", "uniform"), [(0.0, True), (0.4, False)])
def test_the_transform_is_uniform_where_the_predictions_are_right(shift, uniform):
    rng = np.random.default_rng(0)
    rates = rng.gamma(1.0, 1.0, 4000)
    pit = randomised_pit(rng.poisson(rates + shift), rng.poisson(rates, (99, 4000)))
    assert (stats.kstest(pit, "uniform").pvalue > 1e-3) == uniform
    distance = uniformity_distance(pit[:, None])[0]
    assert distance == pytest.approx(stats.kstest(pit, "uniform").statistic)


def test_what_chance_alone_gives():
    distances = uniformity_distance(np.random.default_rng(0).random((400, 2000)))
    # Kolmogorov's limit is reached from below, by about 1 / (6 sqrt N) of sqrt N times the distance.
    assert distances.mean() == pytest.approx(chance_distance(400), abs=0.2 / 400 + 4 * distances.std() / np.sqrt(2000))


def test_predictive_checks_find_what_is_wrong():
    rng = np.random.default_rng(0)
    x = rng.negative_binomial(1.0, 1 / 3, (400, 10))
    found = {check.name: check for check in predictive_checks(x, rng.poisson(2.0, (200, 400, 10)), counts=True)}
    assert found["mean"].error < 0.05
    assert found["mean"].low < found["mean"].predicted < found["mean"].high
    assert found["Fano factor"].observed == pytest.approx(3.0, rel=0.1)
    assert found["Fano factor"].predicted == pytest.approx(1.0, rel=0.05)
    for name in ("Fano factor", "zero fraction", "maximum"):
        assert found[name].p_value == pytest.approx(2 / 201)
        assert found[name].error > 0.3


def test_numbers_have_other_statistics():
    rng = np.random.default_rng(0)
    found = predictive_checks(rng.normal(size=(300, 4)), rng.normal(0, 2, (100, 300, 4)), counts=False)
    assert [check.name for check in found] == ["mean", "variance", "maximum"]
    assert found[1].error == pytest.approx(3, rel=0.2)
    assert found[0].p_value > 0.01


def test_nothing_ever_active():
    found = {check.name: check for check in predictive_checks(np.zeros((5, 2)), np.zeros((9, 5, 2)), counts=True)}
    assert np.isnan(found["Fano factor"].observed)
    assert found["zero fraction"].error == 0


def test_a_rootogram_takes_the_largest_together():
    observed, expected = rootogram(np.array([0.0, 1.0, 7.0, 900.0]), np.arange(4.0), largest=5)
    assert observed.tolist() == [0.25, 0.25, 0, 0, 0, 0.5]
    assert expected.tolist() == [0.25, 0.25, 0.25, 0.25, 0, 0]


def test_latents_are_matched_by_their_columns():
    rng = np.random.default_rng(0)
    reference, order = rng.normal(size=(6, 2, 5)), rng.permutation(6)
    other = 3 * reference[order] + 0.01 * rng.normal(size=(6, 2, 5))
    matched, cosine = match_latents(reference, other)
    assert order[matched].tolist() == list(range(6))
    assert (cosine > 0.99).all()


def test_columns_of_opposite_sign_are_alike_where_it_is_said():
    reference = np.eye(3)
    order, cosine = match_latents(reference, -reference[[1, 2, 0]], symmetric=True)
    assert (order.tolist(), cosine.tolist()) == ([2, 0, 1], [-1, -1, -1])
    assert match_latents(reference, -reference)[1].max() < 1


COUNT_DATA = np.random.default_rng(0).poisson(2.0, (12, 6)).astype(np.float32)


def models(number, kind="poisson", **options):
    torch.manual_seed(0)
    return [make_vae(kind, (6,), latent_dim=3, likelihood="poisson", **options).eval() for _ in range(number)]


def test_a_posterior_goes_to_arviz_and_back(tmp_path):
    import xarray

    first, second = models(2)
    names = [f"cell {number}" for number in range(3)]
    tree = to_arviz({"a": first, "b": second}, COUNT_DATA, samples=30, latents=names, seed=1)
    assert set(tree.children) == {
        "posterior", "prior", "posterior_predictive", "log_likelihood", "sample_stats", "observed_data"
    }  # fmt: skip
    z = tree["posterior"]["z"]
    assert z.dims == ("chain", "draw", "observation", "latent")
    assert z.shape == (2, 30, 12, 3)
    assert z.dtype == np.int64
    assert z.coords["chain"].values.tolist() == ["a", "b"]
    assert z.coords["latent"].values.tolist() == names
    assert tree["prior"]["z"].dims == ("chain", "draw", "latent")
    assert tree["posterior_predictive"]["x"].dims == ("chain", "draw", "observation", "feature")
    assert tree["log_likelihood"]["x"].dims == ("chain", "draw", "observation")
    np.testing.assert_array_equal(tree["observed_data"]["x"].values, COUNT_DATA)

    with torch.no_grad():
        draws = torch.tensor(z.values[0], dtype=torch.float32)
        data = torch.tensor(COUNT_DATA)
        log_likelihood = first.likelihood(first.decode(draws)).log_prob(data).sum(-1)
        log_posterior = first.posterior(data).log_prob(draws).sum(-1)
    np.testing.assert_allclose(tree["log_likelihood"]["x"].values[0], log_likelihood, rtol=1e-4)
    np.testing.assert_allclose(tree["sample_stats"]["log_posterior"].values[0], log_posterior, rtol=1e-4)

    tree.to_netcdf(tmp_path / "posterior.nc")
    with xarray.open_datatree(tmp_path / "posterior.nc") as read:
        xarray.testing.assert_equal(read["posterior"].to_dataset(), tree["posterior"].to_dataset())


def test_arviz_takes_it():
    import arviz_stats

    fresh = to_arviz(models(2, "gaussian"), COUNT_DATA, samples=60)
    with pytest.warns(UserWarning, match="shape parameter of Pareto"):
        assert arviz_stats.loo(fresh).n_data_points == 12
    summary = arviz_stats.summary(to_arviz(models(2), COUNT_DATA, samples=60), var_names=["z"])
    assert len(summary) == 36
    assert np.isfinite(summary["mean"].astype(float)).all()


def test_restarts_are_put_in_order():
    """The same model with its latents turned round gives the same posterior."""
    (model,) = models(1, decoder="lin", encoder="lin")
    (other,) = models(1, decoder="lin", encoder="lin")
    turned = torch.tensor([2, 0, 1])
    with torch.no_grad():
        other.decoder[0].weight.copy_(model.decoder[0].weight[:, turned])
        other.encoder[-1].weight.copy_(model.encoder[-1].weight[turned])
        other.encoder[-1].bias.copy_(model.encoder[-1].bias[turned])
        other.latent.log_rate.copy_(model.latent.log_rate[turned])
    z = to_arviz([model, other], COUNT_DATA, samples=2000)["posterior"]["z"].mean("draw").values
    with torch.no_grad():
        rate = model.posterior(torch.tensor(COUNT_DATA)).mean.numpy()
    assert np.abs(z - rate).max() < 5 * np.sqrt(rate.max() / 2000)


def test_signs_of_gaussian_restarts_are_put_right():
    (model,) = models(1, "gaussian", decoder="lin", encoder="lin")
    (other,) = models(1, "gaussian", decoder="lin", encoder="lin")
    with torch.no_grad():
        other.decoder[0].weight.copy_(-model.decoder[0].weight)
        other.encoder[-1].weight.copy_(model.encoder[-1].weight)
        other.encoder[-1].bias.copy_(model.encoder[-1].bias)
        # The features are means and then log scales.
        other.encoder[-1].weight[:3].neg_()
        other.encoder[-1].bias[:3].neg_()
    z = to_arviz([model, other], COUNT_DATA, samples=4000)["posterior"]["z"]
    first, second = z.mean("draw").values
    error = np.sqrt(2 * z.var("draw").values.max() / 4000)
    assert np.abs(first - second).max() < 5 * error
    assert np.abs(first).max() > 10 * error


def test_iterative_models_and_images_go_to_arviz():
    torch.manual_seed(0)
    x = np.random.default_rng(0).normal(size=(4, 1, 3, 2))
    tree = to_arviz(make_iterative("iterative-gaussian", (1, 3, 2), latent_dim=5), x, samples=3, steps=4)
    assert tree["posterior"]["z"].dtype == np.float32
    assert tree["posterior"]["z"].coords["chain"].values.tolist() == ["restart 0"]
    assert tree["observed_data"]["x"].dims == ("observation", "channel", "row", "column")


@pytest.mark.parametrize(
    ("arguments", "options", "problem"),
    [
        (([], COUNT_DATA), {}, "models: got none, expected at least one"),
        ((models(1), COUNT_DATA), {"samples": 0}, "samples: got 0, expected a positive"),
        ((models(1), COUNT_DATA[:, :3]), {}, r"x: got shape \(12, 3\), expected \(N, 6\)"),
        ((models(1), COUNT_DATA), {"latents": ["a"]}, "latents: got 1 names, expected 3"),
        ((models(1), COUNT_DATA), {"observations": ["a"]}, "observations: got 1 names, expected 12"),
        ((models(1) + models(1, "gaussian"), COUNT_DATA), {}, "models: got restart 1 with "),
    ],
)
def test_what_does_not_fit_together(arguments, options, problem):
    with pytest.raises(InputError, match=problem):
        to_arviz(*arguments, **options)


def test_checks_are_written_as_json():
    result = diagnostics(context(Enumerated(), checked=50)).to_json()
    assert json.loads(json.dumps(result)) == result
    assert all(check["sentence"] and check["verdict"] for check in result["checks"])


def test_names_in_the_tree_and_what_it_says_of_loo():
    x = np.random.default_rng(0).poisson(2.0, (10, 4)).astype(np.float32)
    vae = make_vae("poisson", (4,), latent_dim=2, encoder="lin", decoder="lin", likelihood="poisson")
    tree = to_arviz(vae, x, samples=5, channels=["a", "b", "c", "d"], observations=[f"trial {n}" for n in range(10)])
    assert tree["observed_data"]["x"].sel(channel="c", observation="trial 3").item() == x[3, 2]
    assert tree["posterior_predictive"]["x"].dims == ("chain", "draw", "observation", "channel")
    assert "does not apply" in tree["log_likelihood"].attrs["loo"]
    x[0, 1] = np.nan
    assert np.isnan(to_arviz(vae, x, samples=5)["posterior_predictive"]["x"].values[0, :, 0, 1]).all()
    with pytest.raises(InputError, match="channels: got 3 names, expected 4"):
        to_arviz(vae, x, samples=5, channels=["a", "b", "c"])
