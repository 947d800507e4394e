"""The loss by which models learn through the steps of their iterative inference, in JAX."""

from typing import Literal, get_args

import jax
from jax import Array

from pyrocount.errors import InputError

from .natural_gradient import Problem, Snapshot, State

StepKL = Literal["prior", "posterior"]


def unrolled_loss(
    key: Array, problem: Problem, *data: Array, steps: int, beta: Array | float = 1.0, step_kl: StepKL = "prior"
) -> Array:
    r"""The free energy of data, averaged over the steps of their inference from the prior, in nats, shape (N,).

    .. math:: \frac1T \sum_{t=1}^T \big[ f(z_t) + \beta\, KL(u_t \| u_{t-1}) \big], \qquad z_t \sim q(u_t)

    with the fixed prior in the place of :math:`u_{t-1}` where the dynamics leak. A sample serves twice: in the loss of
    its step, and to drive the next.

    Args:
        key: of the samples.
        problem: made by ``make_problem``, with a relaxation whose samples carry a gradient.
        data: arguments of the objective.
        steps: T.
        beta: weight of the divergence.
        step_kl: where the divergence of a step takes its rates from. For Poisson counts it is
            :math:`r (1 - d + d \log d)`, d being the ratio of the posterior's rate to the prior's and r the rate of the
            ``"prior"``; the official code has that of the ``"posterior"`` there, which is larger where rates rise.

    Raises:
        InputError: naming ``step_kl``.

    References:
        Vafaii, Galor and Yates, Brain-like Variational Inference, arXiv 2410.19315.
    """
    if step_kl not in get_args(StepKL):
        raise InputError("step_kl", repr(step_kl), f"one of {', '.join(get_args(StepKL))}")

    def free_energy(state: State, snapshot: Snapshot, *data: Array) -> Array:
        kl = snapshot.kl
        if step_kl == "posterior":
            # The divergence of a posterior that goes as far again from one at its rate has d and that rate.
            further = jax.tree.map(lambda new, old: 2 * new - old, snapshot.potentials, state.potentials)
            kl = problem.family.kl(further, snapshot.potentials).reshape(len(kl), -1).sum(1)
        return snapshot.nll + beta * kl

    key_start, key_steps = jax.random.split(key)
    _, losses = problem.run(jax.random.split(key_steps, steps), problem.start(key_start), free_energy, *data)
    mean: Array = losses.mean(0)
    return mean
