"""ELBO with an unbiased gradient through counts, for any Pyro program."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine import Trace
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyrocount.errors import InputError

from .elbo import StrictMeanField_ELBO, check_guide, divergence
from .neighbours import Counts, ExactCounts


class UnbiasedCount_ELBO(StrictMeanField_ELBO):  # noqa: N801  (named as Pyro names ELBOs)
    r"""ELBO whose gradient through sampled counts is unbiased, whatever the model does with the counts.

    It takes the place of ``TraceMeanField_ELBO``, or of ``Trace_ELBO`` with ``analytic_kl=False``. All count sites of
    the guide are drawn as exact counts, whatever their relaxation. With log rates u_k = log lambda_k, a loss f of the
    counts z and its derivatives d_k f, the gradient of E f is :math:`g_k = \lambda_k E[f(z + e_k) - f(z)]`. A rule of
    first order estimates the difference by :math:`d_k f(z)`, that of ``SteinChen`` by a trapezoid. The remainder of
    their blend, with weights 1 - c and c, is added at a random latent k of each observation, which has probability
    :math:`\pi_k`:

    .. math:: c_j = \left(\lambda_j + \tfrac c2 (z_j - \lambda_j)\right) d_j f(z) + \frac{1[j = k]}{\pi_k}\, \lambda_k
        \left\{ f(z + e_k) - f(z) - (1 - \tfrac c2)\, d_k f(z) - \tfrac c2\, d_k f(z + e_k) \right\}

    It is unbiased for every c. c is n / (n + 2 ``neighbours``) where n counts are expected in an observation: the
    second-order rule where there are many, with a small remainder, and the quieter first-order rule where counts are
    rare. A correction costs a pass through the model and back to the counts. Half of :math:`\pi_k` is uniform, half is
    proportional to the rates. Negative-binomial counts are Poisson counts given their sampled rate, to which the same
    rule applies. Parameters of the model have their ordinary gradient. See ``docs/mathematics.md`` for the proof and
    for prior work.

    The loss must be a sum over the plates of the counts: layers that mix observations in training, such as batch
    normalisation, are not seen, and make the gradient biased. So does a guide that feeds detached counts to another of
    its sites.

    Args:
        neighbours: number of latents that are corrected, each at the cost of a pass.
        share: probability that a step is corrected at all, with weights that make up for the others; below 1, c is 1.
        analytic_kl: whether divergences of latent sites are exact; if not, they are sampled.
        options: other arguments of ``pyro.infer.ELBO``, such as ``num_particles``.

    Raises:
        InputError: if ``neighbours`` is not a positive whole number, or ``share`` is not in (0, 1].
        NotImplementedError: when a loss is computed, naming the site, if the guide draws no counts, another site of the
            guide depends on counts, or a term of the loss that depends on counts is outside one of their plates.
    """

    def __init__(self, *, neighbours: int = 1, share: float = 1.0, analytic_kl: bool = True, **options: Any) -> None:
        if not isinstance(neighbours, int) or neighbours < 1:
            raise InputError("neighbours", neighbours, "a positive whole number")
        if not 0 < share <= 1:
            raise InputError("share", share, "a number above 0, and at most 1")
        super().__init__(**options)
        self.neighbours = neighbours
        self.share = share
        self.analytic_kl = analytic_kl

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> tuple[Trace, Trace]:
        corrected = torch.is_grad_enabled() and (self.share == 1 or bool(torch.rand(()) < self.share))
        make = partial(Counts, neighbours=self.neighbours, share=self.share, corrected=corrected)
        drawn, recorded = ExactCounts(make), poutine.trace(model)
        model_trace, guide_trace = super()._get_trace(recorded, drawn(guide), args, kwargs)
        if not drawn.counts:
            raise NotImplementedError("guide: it draws no RelaxedPoisson or RelaxedNegativeBinomial counts")
        terms = self._terms(model_trace, guide_trace)
        loss = torch.stack([term.value.sum() for term in terms.values()]).sum()
        if corrected:
            _check_independence(guide_trace, drawn.counts)
            for name, counts in drawn.counts.items():
                for number in range(self.neighbours):
                    z = counts.neighbour(number)
                    replayed = poutine.replay(model, trace=_with_value(recorded.trace, name, z))
                    trace = poutine.trace(replayed).get_trace(*args, **kwargs)
                    others = self._terms(trace, _with_value(guide_trace, name, z), corrected=name)
                    loss = loss + counts.correction(number, *_change(name, z, guide_trace, terms, others))
        # For loss_of_particle, which receives the traces alone.
        guide_trace.loss = loss  # type: ignore[attr-defined]
        return model_trace, guide_trace

    def _terms(self, model_trace: Trace, guide_trace: Trace, corrected: str | None = None) -> dict[str, "_Term"]:
        """Returns the terms of the loss by site, without the exact divergence of a site that is corrected."""
        terms = {}
        for name, site in model_trace.nodes.items():
            if site["type"] != "sample" or site_is_subsample(site):
                continue
            if site["is_observed"]:
                term = -_log_probability(site)
            elif name not in guide_trace.nodes:
                raise NotImplementedError(f"site {name!r}: the model has this site and the guide does not")
            elif not self.analytic_kl:
                term = _log_probability(guide_trace.nodes[name]) - _log_probability(site)
            elif name == corrected:
                continue
            else:
                term = divergence(name, site, guide_trace.nodes[name])
            terms[name] = _Term(term, frozenset(frame.name for frame in site["cond_indep_stack"] if frame.vectorized))
        return terms

    def loss_of_particle(self, model_trace: Trace, guide_trace: Trace) -> Tensor:
        """Returns the loss that was computed with the traces, and that has the corrections."""
        check_guide(model_trace, guide_trace)
        loss: Tensor = guide_trace.loss  # type: ignore[attr-defined]
        return loss


@dataclass(frozen=True)
class _Term:
    """Term of the loss at a site: its values, scaled and masked, of the batch shape of the site, and their plates."""

    value: Tensor
    plates: frozenset[str]


def _log_probability(site: Any) -> Tensor:
    if "log_prob" in site:
        known: Tensor = site["log_prob"]
        return known
    value = site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
    masked: Tensor = scale_and_mask(value, scale=site["scale"], mask=site["mask"])
    return masked


def _with_value(trace: Trace, name: str, value: Tensor) -> Trace:
    """Returns a trace with another value at a site."""
    new = trace.copy()
    site: Any = {key: part for key, part in trace.nodes[name].items() if key not in ("log_prob", "unscaled_log_prob")}
    new.nodes[name] = site | {"value": value}
    return new


def _check_independence(guide_trace: Trace, counts: Mapping[str, Counts]) -> None:
    """Checks that no site of a guide depends on the counts of another."""
    earlier: list[str] = []
    for name, site in guide_trace.nodes.items():
        if site["type"] != "sample":
            continue
        if earlier and (density := _log_probability(site)).requires_grad:
            values = [counts[other].value for other in earlier]
            found = torch.autograd.grad(density.sum(), values, retain_graph=True, allow_unused=True)
            for other, gradient in zip(earlier, found, strict=True):
                if gradient is not None:
                    raise NotImplementedError(f"site {other!r}: its counts feed site {name!r} of the guide")
        if name in counts:
            earlier.append(name)


def _change(
    name: str, z: Tensor, guide_trace: Trace, before: Mapping[str, _Term], after: Mapping[str, _Term]
) -> tuple[Tensor, Tensor]:
    """Returns how the loss of each unit changes from the counts at a site to others, and its gradient there.

    Args:
        name: name of the site.
        z: the other counts.
        guide_trace: trace of the guide with the site.
        before: terms of the loss by site.
        after: terms with the other counts.

    Raises:
        NotImplementedError: naming the site of a term that depends on the counts outside one of their plates.
    """
    site: Any = guide_trace.nodes[name]
    plates = {frame.name for frame in site["cond_indep_stack"] if frame.vectorized}
    shape = site["fn"].batch_shape
    change = z.new_zeros(shape)
    total = z.new_zeros(())
    for other, term in after.items():
        if plates <= term.plates:
            change = change + (term.value - before[other].value).detach().sum_to_size(shape)
            total = total + term.value.sum()
        elif term.value.requires_grad and _depends(term.value, z):
            missing = ", ".join(sorted(plates - term.plates))
            raise NotImplementedError(
                f"site {other!r}: it depends on the counts {name!r} outside their plate {missing}"
            )
    gradient = torch.autograd.grad(total, z, allow_unused=True)[0] if total.requires_grad else None
    return change, torch.zeros_like(z) if gradient is None else gradient


def _depends(value: Tensor, z: Tensor) -> bool:
    return torch.autograd.grad(value.sum(), z, retain_graph=True, allow_unused=True)[0] is not None
