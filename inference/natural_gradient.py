r"""Iterative inference by natural-gradient descent on the free energy, in JAX.

Each step moves the potentials u of the posterior down the natural gradient at a sample z of the posterior, and draws a
new sample:

.. math:: u_{t+1} = u_t - \eta\, F(u_t)^{-1} \nabla_u \big[ E f(z) + \lambda\, KL(u_t \| u_0) \big] - b,

where f is the negative log likelihood of the latents and F is the Fisher information, which ``natural_families`` gives
for each family. Without a leak :math:`\lambda` inference is *online*: the posterior of a step is the prior of the next
step. For Poisson counts this is a spiking network: with a linear decoder the rates are multiplied by the exponentials
of a feed-forward drive and of lateral inhibition by the counts.

References:
    Vafaii, Galor and Yates, Brain-like Variational Inference, arXiv 2410.19315.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.tree_util import Partial

from pyrocount.errors import InputError
from pyrocount.numpyro.relaxations import Relaxation
from pyrocount.numpyro.unbiased_counts import draw_places, nothing_with_gradient

from .natural_families import EXACT, Drive, Family, Potentials, family_of
from .objectives import Objective, Program, Terms, latent_site


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Dynamics:
    """Settings of the steps of iterative inference.

    Attributes:
        step_size: step size eta, positive; a number, or an array that broadcasts with the latents.
        leak: weight lambda of the divergence from the prior; None for online inference.
        bias: bias b, subtracted in every step from the potentials (for Gaussian latents, from their means).
        max_step: maximum step m; a potential whose step is s moves by m tanh(s / m). None takes the maximum step of the
            family.
    """

    step_size: Array | float = 1.0
    leak: Array | float | None = None
    bias: Array | float = 0.0
    max_step: Array | float | None = None


class State(NamedTuple):
    """State of iterative inference.

    Attributes:
        potentials: potentials of the posterior, a pytree of arrays (N, ...).
        z: sample of the posterior, shape (N, ...).
    """

    potentials: Potentials
    z: Array


class Snapshot(NamedTuple):
    """Quantities of one step that can be recorded.

    Attributes:
        potentials: potentials of the posterior after the step, a pytree of arrays (N, ...).
        rate: mean of the latents, shape (N, ...).
        z: sample of the latents, such as counts, shape (N, ...).
        nll: negative log likelihood of the sample, in nats, shape (N,).
        kl: KL divergence from the prior of the step, in nats, shape (N,). This prior is the posterior before the step
            where inference is online, and the fixed prior where it leaks.
        free_energy: free energy nll + kl, in nats, shape (N,).
        reconstruction: mean of the data given the sample, shape (N, \\*shape).
    """

    potentials: Potentials
    rate: Array
    z: Array
    nll: Array
    kl: Array
    free_energy: Array
    reconstruction: Array


class Inference(NamedTuple):
    """Result of ``infer``.

    Attributes:
        state: state after the last step.
        trajectory: recorded quantities, a pytree of arrays whose leading axis is that of the steps.
    """

    state: State
    trajectory: Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Problem:
    """Inference problem, which stays the same over the steps; a pytree.

    Attributes:
        objective: negative log likelihood of the latents.
        family: family of the latents.
        prior: potentials of the prior, of the shape of those of the posterior.
        dynamics: settings of the steps.
        relaxation: relaxation through which counts are sampled.
        drive: kind of the slope, ``"sampled"`` or ``"exact"``, see ``natural_families``.
        neighbours: number of latents whose gradient is corrected in each step, see ``correction``.
    """

    objective: Any
    family: Family
    prior: Potentials
    dynamics: Dynamics = Dynamics()
    relaxation: Relaxation = EXACT
    drive: Drive = field(default="sampled", metadata={"static": True})
    neighbours: int = field(default=0, metadata={"static": True})

    def sample(self, key: Array, potentials: Potentials) -> Array:
        """Draws a sample of the distribution with these potentials."""
        distribution: Any = self.family.distribution(potentials, self.relaxation)
        # Corrections are those of a gradient through the rates.
        z: Array = distribution.sample_through_rate(key) if self.neighbours else distribution.sample(key)
        return z

    def start(self, key: Array, potentials: Potentials | None = None) -> State:
        """Returns the state of a posterior with these potentials, by default those of the prior, and a new sample."""
        potentials = self.family.bounded(self.prior if potentials is None else potentials)
        return State(potentials, self.sample(key, potentials))

    def slope(self, terms: Terms, z: Array, *data: Array) -> Array:
        """Computes the slope that drives the potentials: the gradient of the objective at a sample, or differences."""
        if self.drive == "exact" and self.family.is_count:
            differences: Array = self.objective.differences(z, terms, *data)
            return differences
        return terms.gradient

    def moved(self, state: State, slope: Array) -> Potentials:
        """Computes the potentials after a step."""
        dynamics, potentials = self.dynamics, state.potentials
        step = self.family.natural_gradient(potentials, state.z, slope, self.drive)
        if dynamics.leak is not None:
            pull = self.family.leak(potentials, self.prior)
            step = jax.tree.map(lambda one, other: one + dynamics.leak * other, step, pull)
        first, *others = jax.tree.leaves(jax.tree.map(lambda part: dynamics.step_size * part, step))
        step = jax.tree.unflatten(jax.tree.structure(step), [first + dynamics.bias, *others])
        limit = self.family.max_step if dynamics.max_step is None else dynamics.max_step
        moved = jax.tree.map(lambda old, change: old - limit * jnp.tanh(change / limit), potentials, step)
        return self.family.bounded(moved)

    def correction(self, key: Array, potentials: Potentials, z: Array, terms: Terms, *data: Array) -> Array:
        """Returns 0 for each observation, with what the gradient of a step's own loss lacks through its counts.

        Added to the negative log likelihood of counts that are sampled by ``SteinChen``, it makes the gradient of the
        expectation of this loss with respect to the potentials of the step unbiased; see ``docs/mathematics.md``. It
        does not cover the effect of the counts on later steps, which keeps the rule of ``SteinChen``.

        Args:
            key: key with which the counts were sampled.
            potentials: potentials of the step.
            z: the counts, shape (N, ...).
            terms: the objective at the counts.
            data: arguments of the objective.
        """
        distribution: Any = self.family.distribution(potentials, self.relaxation)
        rate = distribution.draw_rate(key, z.shape)[0].reshape(len(z), -1)
        z, terms = lax.stop_gradient((z, terms))
        places, weights = draw_places(jax.random.fold_in(key, 1), lax.stop_gradient(rate), self.neighbours)
        total = jnp.zeros(len(z), rate.dtype)
        for place, weight in zip(places.swapaxes(0, 1), weights.T, strict=True):
            there = lax.stop_gradient(self.objective(z + place.reshape(z.shape), *data))
            trapezoid = ((terms.gradient + there.gradient).reshape(place.shape) * place).sum(1) / 2
            rest = weight * (there.nll - terms.nll - trapezoid)
            total += nothing_with_gradient(rate, place * rest[:, None]).sum(1)
        return total

    def run(self, keys: Array, state: State, record: "Record", *data: Array) -> tuple[State, Any]:
        """Takes one step for each key, traced as one loop.

        Args:
            keys: random keys of the samples, one for each step.
            state: state to start from.
            record: function of the state before a step, the snapshot after the step, and the data; it returns the
                quantities to keep.
            data: arguments of the objective.

        Returns:
            The state after the last step, and the recorded quantities, whose leading axis is that of the steps.
        """

        def step(carry: tuple[State, Array], key: Array) -> tuple[tuple[State, Array], Any]:
            state, slope = carry
            potentials = self.moved(state, slope)
            z = self.sample(key, potentials)
            terms = self.objective(z, *data)
            if self.neighbours:
                terms = terms._replace(nll=terms.nll + self.correction(key, potentials, z, terms, *data))
            origin = state.potentials if self.dynamics.leak is None else self.prior
            kl = self.family.kl(potentials, origin).reshape(len(z), -1).sum(1)
            snapshot = Snapshot(
                potentials, self.family.rate(potentials), z, terms.nll, kl, terms.nll + kl, terms.prediction
            )
            return (State(potentials, z), self.slope(terms, z, *data)), record(state, snapshot, *data)

        slope = self.slope(self.objective(state.z, *data), state.z, *data)
        (state, _), trajectory = lax.scan(step, (state, slope), keys)
        return state, trajectory


# Function of the state before a step, the snapshot after the step, and the data; it returns the quantities to keep.
Record = Callable[..., Any]


def everything(state: State, snapshot: Snapshot, *data: Array) -> Snapshot:
    """Returns the whole snapshot, so that every quantity of the step is recorded."""
    return snapshot


def make_problem(
    model: Callable[..., object],
    *data: Array,
    objective: Objective | None = None,
    family: type[Family] | None = None,
    dynamics: Dynamics = Dynamics(),
    relaxation: Relaxation = EXACT,
    drive: Drive = "sampled",
) -> Problem:
    """Builds the inference problem of the one latent site of a NumPyro program.

    Args:
        model: NumPyro program. The leading axis of its sites is that of the observations, as in a plate. It is a
            ``jax.tree_util.Partial`` if its bound arguments change or are traced.
        data: arguments of the program, arrays.
        objective: negative log likelihood of the latents, by default that of the observed sites of the program. For a
            linear program with Gaussian noise, ``LinearGaussian`` is the same in closed form.
        family: family of the latents, by default that of the distribution at the latent site.
        dynamics: settings of the steps.
        relaxation: relaxation through which counts are sampled, exactly or with a gradient; training through the steps
            needs a gradient.
        drive: kind of the slope. ``"sampled"`` is that of the papers, the gradient of the likelihood at the sample.
            ``"exact"`` is an unbiased estimate of the natural gradient for counts, which also contains the contribution
            of their variance. It costs one evaluation of the program for each latent, and nothing for
            ``LinearGaussian``.

    Raises:
        InputError: naming ``model``, if the program does not have exactly one latent site of a known family and at
            least one observed site; or naming ``drive``, if it is unknown.
    """
    if drive not in get_args(Drive):
        raise InputError("drive", repr(drive), f"one of {', '.join(get_args(Drive))}")
    site, prior = latent_site(model, *data)
    known, potentials = family_of(prior, family)
    if objective is None:
        objective = Program(model if isinstance(model, Partial) else Partial(model), site)
    return Problem(objective, known, potentials, dynamics, relaxation, drive)


def infer(
    key: Array,
    problem: Problem | Callable[..., object],
    *data: Array,
    steps: int = 100,
    start: State | None = None,
    record: Record = everything,
    chunk: int | None = None,
) -> Inference:
    """Infers the latents of data by natural-gradient descent.

    Args:
        key: random key of the samples.
        problem: problem made by ``make_problem``, or a NumPyro program, whose problem is made with the defaults.
        data: arguments of the program, arrays.
        steps: number of steps.
        start: state to start from, for example the state after earlier data; by default that of the prior.
        record: function of the state before a step, the snapshot after the step, and the data; it returns the
            quantities to keep. It should be defined once, at the level of a module, because each new function is
            compiled anew.
        chunk: number of steps in one loop. After each loop the recorded quantities are moved to NumPy arrays, so that
            the memory of the device does not grow with the number of steps; the numbers stay the same.

    Raises:
        InputError: naming ``steps`` or ``chunk``, if it is not positive; or naming ``model``, see ``make_problem``.

    >>> import numpyro
    >>> from pyrocount.numpyro import RelaxedPoisson
    >>> def program(x):
    ...     with numpyro.plate("data", len(x)):
    ...         z = numpyro.sample("z", RelaxedPoisson(jnp.ones(3)).to_event(1))
    ...         numpyro.sample("x", numpyro.distributions.Normal(z @ jnp.eye(3), 1.0).to_event(1), obs=x)
    >>> x = jnp.array([[0.0, 2.0, 8.0], [5.0, 5.0, 5.0]])
    >>> result = infer(jax.random.key(0), program, x, steps=50)
    >>> result.trajectory.z.shape
    (50, 2, 3)
    """
    for name, value in (("steps", steps), ("chunk", steps if chunk is None else chunk)):
        if value < 1:
            raise InputError(name, value, "a positive whole number")
    if not isinstance(problem, Problem):
        problem = make_problem(problem, *data)
    key_start, key_steps = jax.random.split(key)
    state = _start(problem, key_start) if start is None else start
    parts = []
    for first in range(0, steps, chunk or steps):
        numbers = jnp.arange(first, min(first + (chunk or steps), steps))
        state, part = _run(problem, key_steps, numbers, state, record, *data)
        parts.append(part if chunk is None else jax.device_get(part))
    trajectory = parts[0] if len(parts) == 1 else jax.tree.map(lambda *those: np.concatenate(those), *parts)
    return Inference(state, trajectory)


def states_after(
    key: Array, problem: Problem, *data: Array, times: Sequence[int], start: State | None = None
) -> Iterator[State]:
    """Yields the state after each of some numbers of steps of one inference, those that ``infer`` has with the key.

    Args:
        key: random key of the samples.
        problem: problem made by ``make_problem``.
        data: arguments of the program, arrays.
        times: numbers of steps, increasing.
        start: state to start from; by default that of the prior.

    Raises:
        InputError: naming ``times``, if they are not positive and increasing.
    """
    if not times or any(later <= former for former, later in pairwise([0, *times])):
        raise InputError("times", list(times), "positive numbers of steps, increasing")
    key_start, key_steps = jax.random.split(key)
    state = _start(problem, key_start) if start is None else start
    for first, last in pairwise([0, *times]):
        state = _advanced(problem, key_steps, first, last, state, *data)
        yield state


def infer_sequence(
    key: Array,
    problem: Problem,
    frames: Array,
    *,
    steps: int,
    start: State | None = None,
    record: Record = everything,
) -> Inference:
    """Infers the latents of a sequence of frames, carrying the state over from each frame to the next.

    Args:
        key: random key of the samples.
        problem: problem made by ``make_problem`` for one frame.
        frames: sequence of S frames of N observations, shape (S, N, \\*shape).
        steps: number of steps for each frame.
        start: state to start from; by default that of the prior.
        record: function that returns the quantities to keep of a step, as for ``infer``.

    Returns:
        The last state, and the trajectory over all S * steps steps, as NumPy arrays.

    Raises:
        InputError: naming ``steps``, if it is not positive; or naming ``frames``, if there are none.
    """
    if len(frames) == 0:
        raise InputError("frames", f"an array of shape {jnp.shape(frames)}", "at least one frame")
    parts = []
    state = start
    for number, frame in enumerate(frames):
        result = infer(
            jax.random.fold_in(key, number), problem, frame, steps=steps, start=state, record=record, chunk=steps
        )
        state = result.state
        parts.append(result.trajectory)
    return Inference(result.state, jax.tree.map(lambda *those: np.concatenate(those), *parts))


def _nothing(state: State, snapshot: Snapshot, *data: Array) -> tuple[()]:
    return ()


@jax.jit
def _start(problem: Problem, key: Array) -> State:
    return problem.start(key)


@jax.jit
def _advanced(problem: Problem, key: Array, first: int, last: int, state: State, *data: Array) -> State:
    """Returns the state after the steps of these numbers; compiled once, whatever they are."""

    def step(number: Array, state: State) -> State:
        return problem.run(jax.random.fold_in(key, number)[None], state, _nothing, *data)[0]

    advanced: State = lax.fori_loop(first, last, step, state)
    return advanced


@partial(jax.jit, static_argnums=4)
def _run(
    problem: Problem,
    key: Array,
    numbers: Array,
    state: State,
    record: Record,
    *data: Array,
) -> tuple[State, Any]:
    keys = jax.vmap(partial(jax.random.fold_in, key))(numbers)
    return problem.run(keys, state, record, *data)
