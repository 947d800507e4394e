r"""Sparse coding: nonnegative codes of data for a given dictionary.

All three algorithms look for the minimum over :math:`a \ge 0` of

.. math:: \tfrac12 \lVert x - \Phi a \rVert^2 + \lambda \sum_k a_k .

They take data of shape (N, D), a dictionary of shape (D, K) and the sparsity :math:`\lambda`, and return codes of
shape (N, K), without gradients.
"""

from collections.abc import Callable

import torch
from torch import Tensor

# Largest step of the potentials of ``lca`` over their time constant.
LCA_RATE = 0.1


@torch.no_grad()
def lca(x: Tensor, dictionary: Tensor, sparsity: float, steps: int = 200) -> Tensor:
    r"""Locally competitive algorithm: potentials driven by the data, leaking, and inhibited by active neighbours.

    .. math:: \dot u = \Phi^\top x - u - (\Phi^\top \Phi - I)\, a, \qquad a = \max(u - \lambda, 0)

    Args:
        x: data, shape (N, D).
        dictionary: shape (D, K), with columns of unit norm.
        sparsity: threshold of the activity, positive.
        steps: of a tenth of the time constant, or less where the inhibition is so strong that it would oscillate.

    Reference:
        Rozell, Johnson, Baraniuk and Olshausen, Sparse Coding via Thresholding and Local Competition, Neural
        Computation 2008, equation 3.5.
    """
    drive, gram, stable = _prepared(x, dictionary)
    rate = stable.clamp(max=LCA_RATE)
    potential = torch.zeros_like(drive)
    activity = torch.zeros_like(drive)
    for _ in range(steps):
        inhibition = torch.addmm(activity, activity, gram, beta=-1.0)
        potential.lerp_(drive - inhibition, rate)
        activity = (potential - sparsity).clamp_(min=0)
    return activity


@torch.no_grad()
def ista(x: Tensor, dictionary: Tensor, sparsity: float, steps: int = 200) -> Tensor:
    """Iterative shrinkage-thresholding: gradient steps of the squared error, each followed by the threshold.

    Args:
        x: data, shape (N, D).
        dictionary: shape (D, K).
        sparsity: weight of the codes, positive.
        steps: of the length at which the objective cannot rise.

    Reference:
        Daubechies, Defrise and De Mol, An Iterative Thresholding Algorithm for Linear Inverse Problems, Communications
        on Pure and Applied Mathematics 2004.
    """
    drive, gram, step = _prepared(x, dictionary)
    code = torch.zeros_like(drive)
    for _ in range(steps):
        code = _shrunk(code, drive, gram, step, sparsity)
    return code


@torch.no_grad()
def fista(x: Tensor, dictionary: Tensor, sparsity: float, steps: int = 200) -> Tensor:
    """Fast iterative shrinkage-thresholding: ``ista`` with momentum, whose error falls with the square of the steps.

    Args:
        x: data, shape (N, D).
        dictionary: shape (D, K).
        sparsity: weight of the codes, positive.
        steps: number of them.

    Reference:
        Beck and Teboulle, A Fast Iterative Shrinkage-Thresholding Algorithm for Linear Inverse Problems, SIAM Journal
        on Imaging Sciences 2009, equations 4.1 to 4.3.
    """
    drive, gram, step = _prepared(x, dictionary)
    code = torch.zeros_like(drive)
    ahead, momentum = code, 1.0
    for _ in range(steps):
        following = _shrunk(ahead, drive, gram, step, sparsity)
        grown = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = following.lerp(code, (1 - momentum) / grown)
        code, momentum = following, grown
    return code


SPARSE_CODERS: dict[str, Callable[..., Tensor]] = {"lca": lca, "ista": ista, "fista": fista}


def _prepared(x: Tensor, dictionary: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Drive, Gram matrix and a step that never overshoots: one over the largest eigenvalue."""
    gram = dictionary.T @ dictionary
    # The norm of the smaller Gram matrix: the two share their largest eigenvalue.
    smaller = dictionary @ dictionary.T if dictionary.shape[0] < dictionary.shape[1] else gram
    return x @ dictionary, gram, 1 / torch.linalg.eigvalsh(smaller)[-1]


def _shrunk(code: Tensor, drive: Tensor, gram: Tensor, step: Tensor, sparsity: float) -> Tensor:
    return (code + step * (drive - code @ gram - sparsity)).clamp_(min=0)
