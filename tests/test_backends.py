import numpy as np
import pytest
import torch

from pyrocount.backends import as_backend, derived_seed
from pyrocount.backends.iterative_model import make_iterative
from pyrocount.models import make_vae

RNG = np.random.default_rng(0)
X = RNG.normal(size=(7, 5)).astype(np.float32)
COUNTS = RNG.poisson(2.0, (7, 5)).astype(np.float32)
EXPOSURE = np.linspace(0.5, 2.0, 7, dtype=np.float32)
AMORTIZED = ["poisson", "negbio", "gaussian", "laplace", "categorical"]
ITERATIVE = ["iterative-poisson", "predictive-coding"]


def fitted(kind, **options):
    torch.manual_seed(0)
    if kind in ITERATIVE:
        return make_iterative(kind, (5,), latent_dim=3, **options)
    return make_vae(kind, (5,), latent_dim=3, **options)


@pytest.mark.parametrize("kind", AMORTIZED + ITERATIVE)
def test_shapes_and_kinds(kind):
    backend = as_backend(fitted(kind), steps=5)
    drawn = backend.draws(X, samples=4, replicate=True, batch_size=3)
    assert drawn.z.shape == (4, 7, 3)
    assert drawn.log_weights.shape == (4, 7)
    assert drawn.replicates.shape == drawn.pointwise_log_likelihood.shape == (4, 7, 5)
    np.testing.assert_allclose(drawn.pointwise_log_likelihood.sum(2), drawn.log_likelihood, rtol=1e-4)
    assert np.isfinite(drawn.log_weights).all()
    assert backend.has_counts == ("poisson" in kind or "negbio" in kind)
    if backend.has_counts:
        assert (drawn.z == drawn.z.round()).all()
    assert backend.code(X, batch_size=4).shape == (7, 3)
    assert [part.shape for part in backend.prior_draws(6)] == [(6, 3), (6, 5), (6, 5)]
    assert backend.dictionary().shape == (3, 5)
    assert backend.has_density == (kind != "predictive-coding")
    assert as_backend(fitted(kind)).draws(X[:2], samples=2).replicates is None


@pytest.mark.parametrize("kind", AMORTIZED)
def test_amortised_weights_are_those_of_the_model(kind):
    vae = fitted(kind, likelihood="poisson").train()
    backend = as_backend(vae)
    drawn = backend.draws(COUNTS, EXPOSURE, samples=6)
    assert vae.training
    z, data, windows = (torch.tensor(part) for part in (drawn.z, COUNTS, EXPOSURE))
    vae.eval()
    with torch.no_grad():
        posterior = vae.encode(data, windows)
        prior = vae.latent.prior()
        prior = prior.to_event(1 - len(prior.event_shape))
        nll = -vae.likelihood(vae.decode(z), windows).log_prob(data).sum(2)
        expected = prior.log_prob(z) - posterior.log_prob(z) - nll
    np.testing.assert_allclose(drawn.log_weights, expected, rtol=1e-4, atol=1e-4)
    weights = backend.log_weights(COUNTS, EXPOSURE, samples=6)
    np.testing.assert_array_equal(weights, drawn.log_weights)


@pytest.mark.parametrize("kind", ["poisson", "gaussian", "iterative-poisson"])
def test_the_mean_weight_is_the_mean_bound(kind):
    """The mean of the log weights is the ELBO that evaluation finds by other samples."""
    backend = as_backend(fitted(kind), steps=30)
    samples = 3000
    weights = backend.log_weights(X, samples=samples)
    evaluation = backend.evaluate(X)
    kl = evaluation.per_observation["kl"]
    # Eight samples in the one, one in the iterative one, many in the other.
    few = 1 if kind.startswith("iterative") else 8
    error = weights.std(0) * np.sqrt(1 / few + 1 / samples)
    assert kl.shape == (7,)
    assert np.abs(weights.mean(0) + evaluation.per_observation["nelbo"]).max() < 4.5 * error.max()


def test_more_samples_keep_the_first():
    backend = as_backend(fitted("poisson"))
    np.testing.assert_array_equal(backend.log_weights(X, samples=40)[:20], backend.log_weights(X, samples=20))
    assert len(np.unique(backend.log_weights(X, samples=60), axis=0)) > 55


@pytest.mark.parametrize("kind", ["poisson", "negbio", "gaussian", "laplace"])
def test_the_mean_of_a_code_is_that_of_the_posterior(kind):
    vae = fitted(kind, shared_dispersion=True).eval()
    backend = as_backend(vae)
    with torch.no_grad():
        posterior = vae.posterior(torch.tensor(X))
        expected = vae.likelihood(vae.decode(posterior.mean)).mean
    np.testing.assert_allclose(backend.mean_of_code(backend.code(X)), expected, rtol=1e-4, atol=1e-5)


def test_iterative_codes_are_distances_from_the_prior():
    iterative = fitted("iterative-poisson")
    backend = as_backend(iterative, steps=9)
    state = iterative.infer(X, steps=9, seed=derived_seed(3, 0)).state
    expected = np.asarray(state.potentials) - np.asarray(iterative.parameters["prior.log_rate"])
    np.testing.assert_allclose(backend.code(X, seed=3), expected, rtol=1e-5, atol=1e-6)
    at_prior = backend.mean_of_code(np.zeros((1, 3), np.float32))
    rate = np.exp(np.asarray(iterative.parameters["prior.log_rate"]))
    np.testing.assert_allclose(
        at_prior[0], np.asarray(iterative.model.decode(iterative.parameters, rate[None]))[0], rtol=1e-5
    )


@pytest.mark.parametrize(
    ("options", "soft"),
    [({"estimator": "arrival"}, True), ({"estimator": "gumbel"}, True), ({"estimator": "arrival-hard"}, False),
     ({"estimator": "stein"}, False)],
)  # fmt: skip
def test_soft_samples_are_those_of_training(options, soft):
    vae = fitted("poisson", temperature=1.0, **options).eval()
    relaxed = as_backend(vae).relaxed(X)
    assert not vae.training
    assert (relaxed is not None) == soft
    if soft:
        exact = as_backend(vae).evaluate(X).per_observation
        assert {name: values.shape for name, values in relaxed.items()} == {"nll": (len(X),), "mse": (len(X),)}
        assert not np.allclose(relaxed["nll"], exact["nll"], rtol=1e-3)
        # The noise has a variance of 1/2: the sum of squares, and a constant.
        features = X[0].size
        np.testing.assert_allclose(relaxed["nll"], features * (relaxed["mse"] + np.log(np.pi) / 2), rtol=1e-4)


@pytest.mark.parametrize("kind", ["negbio", "iterative-poisson"])
def test_windows_of_prior_draws(kind):
    backend = as_backend(fitted(kind, likelihood="poisson"))
    short, long = (np.full(3000, length, np.float32) for length in (1.0, 30.0))
    (z, mean, _), (same, other, data) = (backend.prior_draws(3000, windows) for windows in (short, long))
    np.testing.assert_array_equal(z, same)
    np.testing.assert_allclose(other, 30 * mean, rtol=1e-4)
    assert np.abs(data.mean() - other.mean()) < 5 * np.sqrt(other.mean() / data.size)


def test_purposes_have_seeds_of_their_own():
    seeds = {derived_seed(seed, *purpose) for seed in range(20) for purpose in ((), (0,), (1,), (0, 0), (0, 1))}
    assert len(seeds) == 100
    backend = as_backend(fitted("poisson"))
    z, *_ = backend.prior_draws(50, seed=1)
    assert not np.array_equal(z, backend.prior_latents(50, seed=1))
