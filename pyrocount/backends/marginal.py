"""The marginal model of data: each value around its mean over observations, with no latents."""

from functools import cached_property

import numpy as np
from scipy.special import xlogy

from pyrocount.data import Dataset
from pyrocount.metrics.spikes import bits_per_spike, dispersions, mean_rates, negative_binomial_nll, poisson_nll

from .evaluation import Array


class Marginal:
    """Marginal model of the training data, as a yardstick for held-out data.

    Args:
        data: observations, split.
        likelihood: name of the observation distribution.
        scale: standard deviation of Gaussian noise, in the units of models.
    """

    def __init__(self, data: Dataset, likelihood: str, scale: float = 1.0) -> None:
        self.data, self.likelihood, self.scale = data, likelihood, scale

    @cached_property
    def nll(self) -> Array:
        """Returns the negative log-likelihood of each held-out observation, in nats, shape (M,)."""
        x, _ = self.data.held_out()
        match self.likelihood:
            case "poisson":
                return self.rate_nll
            case "negbio":
                return self.overdispersed_nll
            case "bernoulli":
                mean = np.clip(self.data.mean(), 1 / (2 * len(self.data.train)), 1 - 1 / (2 * len(self.data.train)))
                each = -xlogy(x, mean) - xlogy(1 - x, 1 - mean)
            case _:
                each = np.square((x - self.data.mean()) / self.scale) / 2 + np.log(self.scale * np.sqrt(2 * np.pi))
        return _by_observation(each)

    @cached_property
    def rates(self) -> Array:
        """Returns the mean rate of each channel, per unit of exposure, shape (\\*shape)."""
        return mean_rates(self.data.train, self.data.train_exposure)

    @cached_property
    def total_counts(self) -> Array:
        """Returns the dispersion of each channel around its mean rate, shape (\\*shape)."""
        return dispersions(self.data.train, self.rates, self.data.train_exposure)

    @cached_property
    def rate_nll(self) -> Array:
        """Returns the negative log-likelihood of each held-out observation by the mean rates, Poisson, shape (M,)."""
        x, exposure = self.data.held_out()
        return _by_observation(poisson_nll(x, self.rates, exposure))

    @cached_property
    def overdispersed_nll(self) -> Array:
        """Returns the same with negative-binomial noise of a dispersion for each channel, shape (M,)."""
        x, exposure = self.data.held_out()
        return _by_observation(negative_binomial_nll(x, self.rates, self.total_counts, exposure))

    @cached_property
    def spikes(self) -> Array:
        """Returns the number of spikes of each held-out observation, shape (M,)."""
        return _by_observation(np.nan_to_num(self.data.held_out()[0]))

    def bits_per_spike(self, nll: Array) -> float:
        """Returns the gain of a model over the mean rates, from its loss on the first held-out observations, (N,)."""
        first = slice(len(nll))
        return bits_per_spike(
            float(nll.sum(dtype=np.float64)), float(self.rate_nll[first].sum()), float(self.spikes[first].sum())
        )


def _by_observation(values: Array) -> Array:
    sums: Array = values.reshape(len(values), -1).sum(1, dtype=np.float64)
    return sums
