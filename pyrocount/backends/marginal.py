"""The marginal model of data: each value around its mean over observations, with no latents."""

from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
from scipy.special import xlogy

from pyrocount.data import Dataset, rows_of_a_part
from pyrocount.metrics import r_squared_per_observation, squared_errors
from pyrocount.metrics.spikes import bits_per_spike, dispersions, mean_rates, negative_binomial_nll, poisson_nll

from .evaluation import Array, finite_mean


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
        match self.likelihood:
            case "poisson":
                return self.rate_nll
            case "negbio":
                return self.overdispersed_nll
            case "bernoulli":
                mean = np.clip(self.data.mean(), 1 / (2 * len(self.data.train)), 1 - 1 / (2 * len(self.data.train)))
                return self._each(lambda x, _: -xlogy(x, mean) - xlogy(1 - x, 1 - mean))
            case _:
                mean, constant = self.data.mean(), np.log(self.scale * np.sqrt(2 * np.pi))
                return self._each(lambda x, _: np.square((x - mean) / self.scale) / 2 + constant)

    @cached_property
    def rates(self) -> Array:
        """Returns the mean rate of each channel, per unit of exposure, shape (\\*shape)."""
        return mean_rates(self.data.train_view, self.data.train_exposure)

    @cached_property
    def total_counts(self) -> Array:
        """Returns the dispersion of each channel around its mean rate, shape (\\*shape)."""
        return dispersions(self.data.train_view, self.rates, self.data.train_exposure)

    @cached_property
    def rate_nll(self) -> Array:
        """Returns the negative log-likelihood of each held-out observation by the mean rates, Poisson, shape (M,)."""
        return self._each(lambda x, exposure: poisson_nll(x, self.rates, exposure))

    @cached_property
    def overdispersed_nll(self) -> Array:
        """Returns the same with negative-binomial noise of a dispersion for each channel, shape (M,)."""
        return self._each(lambda x, exposure: negative_binomial_nll(x, self.rates, self.total_counts, exposure))

    @cached_property
    def spikes(self) -> Array:
        """Returns the number of spikes of each held-out observation, shape (M,)."""
        return self._each(lambda x, _: np.nan_to_num(x))

    def bits_per_spike(self, nll: Array) -> float:
        """Returns the gain of a model over the mean rates, from its loss on the first held-out observations, (N,)."""
        first = slice(len(nll))
        return bits_per_spike(
            float(nll.sum(dtype=np.float64)), float(self.rate_nll[first].sum()), float(self.spikes[first].sum())
        )

    def distances(self, mean: Array) -> dict[str, float]:
        """Returns the mean squared error and R^2 of a mean of each value, per unit of exposure, on held-out data."""

        def predicted(exposure: Array | None) -> Array:
            return mean if exposure is None else mean * exposure.reshape(-1, *(1,) * len(self.data.shape))

        parts = [
            (squared_errors(x, predicted(exposure)), r_squared_per_observation(x, predicted(exposure)))
            for x, exposure in self._parts()
        ]
        errors, r2 = (np.concatenate(part) for part in zip(*parts, strict=True))
        return {"mse": finite_mean(errors), "r2": finite_mean(r2)}

    def _parts(self) -> Iterator[tuple[Array, Array | None]]:
        """Yields the held-out observations and their exposure, some at a time."""
        rows = rows_of_a_part(self.data.test.shape)
        for first in range(0, len(self.data.test), rows):
            yield self.data.held_out(rows=slice(first, first + rows))

    def _each(self, function: Callable[[Array, Array | None], Array]) -> Array:
        """Returns the sum of the values of a function over each held-out observation."""
        parts = self._parts()
        return np.concatenate([function(*part).reshape(len(part[0]), -1).sum(1, dtype=np.float64) for part in parts])
