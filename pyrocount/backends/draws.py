"""Samples of posteriors, and the course of inference, in NumPy arrays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .evaluation import Array


@dataclass(frozen=True)
class Draws:
    """Exact posterior samples, S of each of N observations.

    Attributes:
        z: latents, shape (S, N, K); whole numbers for latent counts.
        log_likelihood: log p(x | z), in nats, shape (S, N).
        log_prior: log p(z), in nats, shape (S, N).
        log_posterior: log q(z | x), in nats, shape (S, N).
        replicates: data drawn given each sample, shape (S, N, \\*shape), where they were asked for; NaN where the data
            are missing.
        pointwise_log_likelihood: log p of each datum given z, in nats, shape (S, N, \\*shape), where replicates were
            asked for.
    """

    z: Array
    log_likelihood: Array
    log_prior: Array
    log_posterior: Array
    replicates: Array | None = None
    pointwise_log_likelihood: Array | None = None

    @property
    def log_weights(self) -> Array:
        """Returns the log importance weights log p(x, z) - log q(z | x), in nats, shape (S, N)."""
        return self.log_likelihood + self.log_prior - self.log_posterior

    def arrays(self) -> dict[str, Array]:
        """Returns the arrays that are there, by name."""
        return {name: part for name, part in vars(self).items() if part is not None}


@dataclass(frozen=True)
class Course:
    """Course of iterative inference over T steps, of N observations.

    Attributes:
        code: representation after each step, the distance of the potentials from the prior's, shape (T, N, K).
        rate: mean of the latents after each step, for counts the mean count of a step, shape (T, N, K).
        z: sample of the latents in each step, shape (T, N, K).
    """

    code: Array
    rate: Array
    z: Array


@dataclass(frozen=True)
class Steps:
    """Iterative inference of N observations after each of T numbers of steps.

    Attributes:
        times: numbers of steps, shape (T,).
        r2: R^2 of each observation, shape (T, N); NaN for constant observations.
        diverged: whether the squared error of an observation exceeds twice its variance, shape (T, N).
        codes: representation that probes read, shape (T, N, K): potentials over those of the prior.
        means: posterior means of the latents as the decoder sees them, such as rates of counts, shape (T, N, K).
    """

    times: NDArray[np.int64]
    r2: Array
    diverged: NDArray[np.bool_]
    codes: Array
    means: Array
