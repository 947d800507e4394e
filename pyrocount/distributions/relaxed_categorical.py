"""Categorical distribution over one-hot vectors that can carry a gradient."""

from typing import Any

import torch
from pyro.distributions import OneHotCategorical
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import one_hot

from pyrocount import errors


class RelaxedCategorical(OneHotCategorical):
    r"""One-hot vectors of K classes, sampled exactly or by the Gumbel-softmax trick.

    .. math:: z = \mathrm{softmax}((\mathrm{logits} + g) / \mathrm{temperature}), \qquad g_k \sim \mathrm{Gumbel}(0, 1)

    ``log_prob``, ``mean``, ``variance`` and the KL divergence are those of the exact one-hot vectors; ``log_prob`` is
    continued linearly to the simplex.

    Args:
        probs: probabilities of the classes, shape (\*batch, K).
        logits: unnormalised log probabilities of the classes, shape (\*batch, K), in place of ``probs``.
        temperature: temperature of the softmax, positive; with None, one-hot vectors are sampled exactly and without a
            gradient, for the score function.
        hard: whether values are exact one-hot vectors that carry the gradient of the soft values (straight-through).
        validate_args: whether arguments and values are checked; None follows the global setting.

    Raises:
        InputError: if the temperature is not positive and finite.

    References:
        Jang, Gu and Poole, Categorical Reparameterization with Gumbel-Softmax, ICLR 2017; Maddison, Mnih and Teh, The
        Concrete Distribution, ICLR 2017.

    >>> d = RelaxedCategorical(logits=torch.zeros(4), temperature=0.5)
    >>> bool(d.rsample((3,)).sum(-1).allclose(torch.ones(3))), d.has_rsample
    (True, True)
    """

    def __init__(
        self,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        temperature: float | None = None,
        hard: bool = False,
        validate_args: bool | None = None,
    ) -> None:
        if temperature is not None:
            errors.positive_temperature(temperature)
        self.temperature = temperature
        self.hard = hard
        super().__init__(probs, logits, validate_args=validate_args)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Returns whether samples carry a gradient."""
        return self.temperature is not None

    @property
    def support(self) -> Any:  # type: ignore[override]
        """Returns the simplex for soft values, the one-hot vectors for hard values."""
        return constraints.one_hot if self.hard or self.temperature is None else constraints.simplex

    def expand(self, batch_shape: Any, _instance: Any = None) -> "RelaxedCategorical":
        """Returns the distribution with a wider batch shape."""
        new = self._get_checked_instance(RelaxedCategorical, _instance)
        new.temperature, new.hard = self.temperature, self.hard
        expanded: RelaxedCategorical = super().expand(batch_shape, _instance=new)
        return expanded

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws values of shape (\\*sample_shape, \\*batch, K), with a gradient.

        Raises:
            NotImplementedError: if the temperature is None.
        """
        if self.temperature is None:
            raise NotImplementedError("samples of a RelaxedCategorical without a temperature carry no gradient")
        logits = self.logits.expand(self._extended_shape(torch.Size(sample_shape)))
        smallest = torch.finfo(logits.dtype).tiny
        exponential = -torch.rand_like(logits).clamp(min=smallest).log().clamp(max=-smallest)
        soft = torch.softmax((logits - exponential.log()) / self.temperature, dim=-1)
        if not self.hard:
            return soft
        return one_hot(soft.argmax(-1), soft.shape[-1]).to(soft) + (soft - soft.detach())

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draws values of shape (\\*sample_shape, \\*batch, K), without a gradient."""
        if self.temperature is None:
            exact: Tensor = super().sample(torch.Size(sample_shape))
            return exact
        with torch.no_grad():
            return self.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Returns the log probability, in nats, shape (\\*sample_shape, \\*batch); it is linear in the value."""
        if self._validate_args:
            self._validate_sample(value)
        return (value * self.logits).sum(-1)
