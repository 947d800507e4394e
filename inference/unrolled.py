"""Loss that trains models through the steps of their iterative inference, in JAX."""

from typing import Literal, get_args

import jax
from jax import Array

from pyrocount.errors import InputError

from .natural_gradient import Problem, Snapshot, State

StepKL = Literal["prior", "posterior"]


def unrolled_loss(
    key: Array, problem: Problem, *data: Array, steps: int, beta: Array | float = 1.0, step_kl: StepKL = "prior"
) -> Array:
    r"""Computes the free energy of the data, averaged over the steps of their inference from the prior.

    It is

    .. math:: \frac1T \sum_{t=1}^T \big[ f(z_t) + \beta\, KL(u_t \| u_{t-1}) \big], \qquad z_t \sim q(u_t)

    where the fixed prior takes the place of :math:`u_{t-1}` if the dynamics leak. Each sample serves twice: it enters
    the loss of its step, and it drives the next step.

    Args:
        key: random key of the samples.
        problem: problem made by ``make_problem``, with a relaxation whose samples carry a gradient.
        data: arguments of the objective.
        steps: number of steps T.
        beta: weight of the KL divergence.
        step_kl: distribution, ``"prior"`` or ``"posterior"``, whose rate r enters the divergence of a step. For Poisson
            counts the divergence is :math:`r (1 - d + d \log d)`, where d is the ratio of the posterior's rate to the
            prior's rate and r is the rate of the prior. The official code of the paper takes the rate of the posterior
            instead, which gives a larger divergence where rates rise.

    Returns:
        The free energy of each observation, in nats, shape (N,).

    Raises:
        InputError: naming ``step_kl``, if it is neither ``"prior"`` nor ``"posterior"``.

    References:
        Vafaii, Galor and Yates, Brain-like Variational Inference, arXiv 2410.19315.
    """
    if step_kl not in get_args(StepKL):
        raise InputError("step_kl", repr(step_kl), f"one of {', '.join(get_args(StepKL))}")

    def free_energy(state: State, snapshot: Snapshot, *data: Array) -> Array:
        kl = snapshot.kl
        if step_kl == "posterior":
            # If the posterior moved as far once more, the divergence of that move would have the same ratio d and, as
            # its r, the rate of the posterior.
            further = jax.tree.map(lambda new, old: 2 * new - old, snapshot.potentials, state.potentials)
            kl = problem.family.kl(further, snapshot.potentials).reshape(len(kl), -1).sum(1)
        return snapshot.nll + beta * kl

    key_start, key_steps = jax.random.split(key)
    _, losses = problem.run(jax.random.split(key_steps, steps), problem.start(key_start), free_energy, *data)
    mean: Array = losses.mean(0)
    return mean
