"""A categorical variable as a one-hot vector that can carry a gradient."""

from typing import Any

import torch
from pyro.distributions import OneHotCategorical
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import one_hot

from pyrocount import arguments


class RelaxedCategorical(OneHotCategorical):
    r"""A one-hot vector of K classes, sampled exactly or through the Gumbel-softmax.

    .. math:: z = \mathrm{softmax}((\mathrm{logits} + g) / \mathrm{temperature}), \qquad g_k \sim \mathrm{Gumbel}(0, 1)

    ``log_prob``, ``mean``, ``variance`` and the KL divergence are those of the exact one-hot; ``log_prob`` is continued
    linearly to the simplex.

    Args:
        probs: probabilities of the classes, shape (\*batch, K).
        logits: their unnormalised logarithms; give one of the two.
        temperature: of the softmax, positive; None samples exact one-hots without a gradient, for the score function.
        hard: whether values are exact one-hots that carry the gradient of the soft ones (straight-through).
        validate_args: as in torch.

    Raises:
        InputError: if the temperature is not positive.

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
            arguments.positive_temperature(temperature)
        self.temperature = temperature
        self.hard = hard
        super().__init__(probs, logits, validate_args=validate_args)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether samples carry a gradient."""
        return self.temperature is not None

    @property
    def support(self) -> Any:  # type: ignore[override]
        """The simplex for soft values, one-hot vectors for hard ones."""
        return constraints.one_hot if self.hard or self.temperature is None else constraints.simplex

    def expand(self, batch_shape: Any, _instance: Any = None) -> "RelaxedCategorical":
        """The same distribution for another batch shape."""
        new = self._get_checked_instance(RelaxedCategorical, _instance)
        new.temperature, new.hard = self.temperature, self.hard
        expanded: RelaxedCategorical = super().expand(batch_shape, _instance=new)
        return expanded

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Samples with a gradient, shape (\\*sample_shape, \\*batch, K)."""
        if self.temperature is None:
            raise NotImplementedError("samples without a temperature carry no gradient")
        logits = self.logits.expand(self._extended_shape(torch.Size(sample_shape)))
        smallest = torch.finfo(logits.dtype).tiny
        exponential = -torch.rand_like(logits).clamp(min=smallest).log().clamp(max=-smallest)
        soft = torch.softmax((logits - exponential.log()) / self.temperature, dim=-1)
        if not self.hard:
            return soft
        return one_hot(soft.argmax(-1), soft.shape[-1]).to(soft) + (soft - soft.detach())

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Samples as ``rsample`` does, without a gradient."""
        if self.temperature is None:
            exact: Tensor = super().sample(torch.Size(sample_shape))
            return exact
        with torch.no_grad():
            return self.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability, linear in the value, shape (\\*sample, \\*batch)."""
        if self._validate_args:
            self._validate_sample(value)
        return (value * self.logits).sum(-1)
