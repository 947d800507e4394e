"""Kullback-Leibler divergences between count distributions, in nats, registered with torch."""

import torch
from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge
from torch.distributions import register_kl
from torch.nn.functional import logsigmoid

from .relaxed_negative_binomial import RelaxedNegativeBinomial
from .relaxed_poisson import RelaxedPoisson


@register_kl(RelaxedPoisson, RelaxedPoisson)
def _kl_poisson_poisson(q: RelaxedPoisson, p: RelaxedPoisson) -> Tensor:
    log_ratio = q.log_rate - p.log_rate
    return q.rate * log_ratio - p.rate * torch.expm1(log_ratio)


@register_kl(RelaxedNegativeBinomial, RelaxedNegativeBinomial)
def _kl_negative_binomial(q: RelaxedNegativeBinomial, p: RelaxedNegativeBinomial) -> Tensor:
    """r [log((1-p_q)/(1-p_p)) + p_q/(1-p_q) log(p_q/p_p)], NegBio-VAE appendix A in torch's probs."""
    if not _same_quantity(q.total_count, p.total_count):
        raise NotImplementedError(
            "the KL divergence of negative binomials has a closed form only for a shared total_count"
        )
    failure = logsigmoid(-q.logits) - logsigmoid(-p.logits)
    success = logsigmoid(q.logits) - logsigmoid(p.logits)
    return q.total_count * (failure + q.logits.exp() * success)


def _same_quantity(a: Tensor, b: Tensor) -> bool:
    """Whether a and b are one quantity, for autograd as well: equal, and computed alike from the same leaves.

    Equal values do not suffice where there are gradients: the derivative with respect to a shared tensor is not that
    with respect to one of two that happen to coincide. Sameness of the tensors would be too much: ``pyro.param`` makes
    a new one at each call, in the model and in the guide.
    """
    if a.requires_grad != b.requires_grad or (a.requires_grad and not _same_history(a, b)):
        return False
    a, b = torch.broadcast_tensors(a, b)
    return (a.data_ptr() == b.data_ptr() and a.stride() == b.stride()) or torch.equal(a, b)


def _same_history(a: Tensor, b: Tensor) -> bool:
    pairs: list[tuple[Node | None, Node | None]] = [(get_gradient_edge(a).node, get_gradient_edge(b).node)]
    seen = set()
    while pairs:
        left, right = (_skip_expand(node) for node in pairs.pop())
        if left is right or (left, right) in seen:
            continue
        if left is None or right is None or left.name() != right.name():
            return False
        # Leaves have a variable; elsewhere both are None.
        if getattr(left, "variable", None) is not getattr(right, "variable", None):
            return False
        if len(left.next_functions) != len(right.next_functions):
            return False
        seen.add((left, right))
        pairs += [(x, y) for (x, _), (y, _) in zip(left.next_functions, right.next_functions, strict=True)]
    return True


def _skip_expand(node: Node | None) -> Node | None:
    while node is not None and node.name().startswith("ExpandBackward"):
        node = node.next_functions[0][0]
    return node
