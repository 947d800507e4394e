"""Iterative models as evaluation, diagnostics and scikit-learn see them."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from pyrocount.adapters import Adapter, Draws
from pyrocount.evaluate_iterative import evaluate_iterative
from pyrocount.evaluation import Array, Evaluation
from pyrocount.inference.natural_families import Family, Potentials, family_of
from pyrocount.inference.natural_gradient import Snapshot, State
from pyrocount.iterative import Iterative, as_array
from pyrocount.models.iterative import IterativeModel, Parameters

# Rows of a batch, which is filled up to it, so that all compile once.
ROWS = 200


class IterativeAdapter(Adapter):
    """A model whose latents are inferred by natural-gradient steps.

    Args:
        iterative: the model.
        steps: of the inference.
    """

    def __init__(self, iterative: Iterative, steps: int) -> None:
        self.iterative, self.steps = iterative, steps
        model = iterative.model
        self.shape, self.latent_dim, self.has_counts = model.shape, model.latent_dim, model.has_counts
        self.has_density = model.kind != "predictive-coding"
        self.observes_counts = model.likelihood in ("poisson", "negbio")
        self.is_symmetric = not self.has_counts and model.activation == "identity"

    def _infer(self, x: Array, exposure: Array | None, seed: int) -> jax.Array:
        """Potentials of the posteriors after the last step."""
        parts = []
        for first in range(0, len(x), ROWS):
            rows = np.arange(first, first + min(ROWS, len(x))) % len(x)
            data = (part[rows] for part in (x, exposure) if part is not None)
            state = self.iterative.infer(*data, steps=self.steps, seed=seed + first, record=_nothing).state
            kept = min(ROWS, len(x) - first)
            parts.append(jax.tree.map(lambda part, kept=kept: part[:kept], state.potentials))
        return jax.tree.map(lambda *all_parts: jnp.concatenate(all_parts), *parts)

    def _sampler(self, x: Array, exposure: Array | None, seed: int, replicate: bool) -> Callable[[range], Draws]:
        potentials = self._infer(x, exposure, seed)
        data = [as_array(part) for part in (x, exposure) if part is not None]
        base = jax.random.fold_in(jax.random.key(seed), 1)
        own, family = self.iterative, self.iterative.problem(*data).family

        def sample(numbers: range) -> Draws:
            keys = [jax.random.fold_in(base, number) for number in numbers]
            drawn = [_one_sample(key, family, potentials, own.parameters, own.model, replicate, *data) for key in keys]
            return Draws(*(np.stack(part) for part in zip(*drawn, strict=True)))

        return sample

    def _code(self, x: Array, exposure: Array | None, seed: int) -> Array:
        """The distance of the potentials from the prior's: log of the posterior over the prior mean, of counts."""
        return np.asarray(_first(self._infer(x, exposure, seed)) - self._prior())

    def _prior(self) -> jax.Array:
        """The potentials of the prior, shape (K,); of a Gaussian, its means."""
        _, potentials = family_of(self.iterative.model.prior(self.iterative.parameters))
        return _first(potentials)

    def evaluate(self, x: Array, exposure: Array | None = None, *, beta: float = 1.0, seed: int = 0) -> Evaluation:
        """Figures of the state after the last step."""
        evaluation, _ = evaluate_iterative(self.iterative, x, exposure, beta=beta, steps=self.steps, seed=seed)
        return evaluation

    def relaxed_nll(self, x: Array, exposure: Array | None = None, *, seed: int = 0) -> Array | None:
        """None: the last posterior of many steps of exact counts has no soft twin."""
        return None

    def prior_latents(self, number: int, *, seed: int = 0) -> Array:
        """Latents of the prior, shape (number, K)."""
        own = self.iterative
        return np.asarray(own.model.prior(own.parameters).sample(jax.random.key(seed), (number,)))

    def _generate(self, z: Array, exposure: Array | None, seed: int) -> tuple[Array, Array]:
        own, windows = self.iterative, None if exposure is None else as_array(exposure)
        law = own.model.law(own.parameters, as_array(z), windows)
        return np.asarray(law.mean), np.asarray(law.sample(jax.random.key(seed)))

    def mean_of_code(self, code: Array) -> Array:
        """Means of the data at the mean latents of posteriors with these codes."""
        potential = jnp.asarray(code) + self._prior()
        mean = jnp.exp(potential) if self.has_counts else potential
        return np.asarray(self.iterative.model.law(self.iterative.parameters, mean).mean)

    def dictionary(self) -> Array:
        """The decoder's response to one unit of activity in each latent."""
        return np.asarray(self.iterative.model.dictionary(self.iterative.parameters))


@partial(jax.jit, static_argnames=("model", "replicate"))
def _one_sample(
    key: jax.Array,
    family: Family,
    potentials: Potentials,
    parameters: Parameters,
    model: IterativeModel,
    replicate: bool,
    x: jax.Array,
    exposure: jax.Array | None = None,
) -> tuple[jax.Array, ...]:
    """A sample of each observation with its log likelihood, prior and posterior, and data drawn given it."""
    key_z, key_x = jax.random.split(key)
    posterior = family.distribution(potentials).to_event(1)
    z = posterior.sample(key_z)
    law = model.law(parameters, z, exposure)
    each = law.log_prob(x)
    log_likelihood = each.reshape(len(x), -1).sum(1)
    is_point = model.kind == "predictive-coding"
    log_posterior = jnp.zeros_like(log_likelihood) if is_point else posterior.log_prob(z)
    drawn = z, log_likelihood, model.prior(parameters).to_event(1).log_prob(z), log_posterior
    return (*drawn, law.sample(key_x).astype(x.dtype), each) if replicate else drawn


def _nothing(state: State, snapshot: Snapshot, *data: jax.Array) -> tuple[()]:
    return ()


def _first(potentials: object) -> jax.Array:
    first: jax.Array = jax.tree.leaves(potentials)[0]
    return first
