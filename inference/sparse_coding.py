r"""Sparse coding: nonnegative codes of data for a given dictionary.

The three algorithms ``lca``, ``ista`` and ``fista`` minimise, over :math:`a \ge 0`,

.. math:: \tfrac12 \lVert x - \Phi a \rVert^2 + \lambda \sum_k a_k .

They take data of shape (N, D), a dictionary of shape (D, K) and the sparsity :math:`\lambda`, and return codes of
shape (N, K), without gradients.
"""

from collections.abc import Callable

import torch
from torch import Tensor

# Largest step of the potentials of ``lca``, as a part of their time constant.
LCA_RATE = 0.1


@torch.no_grad()
def lca(x: Tensor, dictionary: Tensor, sparsity: float, steps: int = 200) -> Tensor:
    r"""Infers codes by the locally competitive algorithm.

    The potentials u of the codes are driven by the data, leak, and are inhibited by active neighbours:

    .. math:: \dot u = \Phi^\top x - u - (\Phi^\top \Phi - I)\, a, \qquad a = \max(u - \lambda, 0)

    Args:
        x: data, shape (N, D).
        dictionary: dictionary, shape (D, K), with columns of unit norm.
        sparsity: threshold of the activity, positive.
        steps: number of steps; each lasts a tenth of the time constant, or less where strong inhibition would make the
            potentials oscillate.

    Returns:
        Codes, shape (N, K).

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
    """Infers codes by iterative shrinkage-thresholding: gradient steps on the squared error, each with a threshold.

    Args:
        x: data, shape (N, D).
        dictionary: dictionary, shape (D, K).
        sparsity: weight of the codes, positive.
        steps: number of steps; their length is the one at which the objective cannot rise.

    Returns:
        Codes, shape (N, K).

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
    """Infers codes by fast iterative shrinkage-thresholding, which is ``ista`` with momentum.

    Its error falls with the square of the number of steps.

    Args:
        x: data, shape (N, D).
        dictionary: dictionary, shape (D, K).
        sparsity: weight of the codes, positive.
        steps: number of steps.

    Returns:
        Codes, shape (N, K).

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


# Sparse-coding algorithms by name.
SPARSE_CODERS: dict[str, Callable[..., Tensor]] = {"lca": lca, "ista": ista, "fista": fista}


def _prepared(x: Tensor, dictionary: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the drive, the Gram matrix, and a step that never overshoots: one over the largest eigenvalue."""
    gram = dictionary.T @ dictionary
    # The eigenvalue is taken from the smaller Gram matrix, as both Gram matrices share their largest eigenvalue.
    smaller = dictionary @ dictionary.T if dictionary.shape[0] < dictionary.shape[1] else gram
    return x @ dictionary, gram, 1 / torch.linalg.eigvalsh(smaller)[-1]


def _shrunk(code: Tensor, drive: Tensor, gram: Tensor, step: Tensor, sparsity: float) -> Tensor:
    return (code + step * (drive - code @ gram - sparsity)).clamp_(min=0)
