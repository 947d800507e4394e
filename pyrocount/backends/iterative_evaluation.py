"""Metrics of iterative inference on held-out data: of exact counts, and as curves over the steps."""

import math
from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from pyrocount.inference.natural_gradient import Record, Snapshot, State
from pyrocount.metrics import r_squared_per_observation, squared_errors
from pyrocount.models.iterative import ACTIVATIONS
from pyrocount.process import group

from .evaluation import Array as FloatArray
from .evaluation import Curves, Evaluation, Totals, finite_mean, joined
from .iterative_model import Iterative, as_array

# Multiple of its variance above which the squared error of an input counts as diverged.
DIVERGED = 2.0
# Fraction of the last R^2 that is reached at convergence.
CONVERGED = 0.99


def evaluate_iterative(
    iterative: Iterative,
    x: Any,
    exposure: Any = None,
    *,
    beta: float = 1.0,
    steps: int = 1000,
    seed: int = 0,
    batch_size: int = 200,
    potentials: Any = None,
    together: bool = False,
) -> Evaluation:
    """Infers the latents of data in exact counts and measures the state after the last step.

    Beside the metrics of every model there are ``r2_median``; ``diverged``, the fraction of observations whose squared
    error exceeds twice their variance; ``convergence_step``, the first at which the mean R^2 reaches 99 % of its last
    value; and ``distance``, from a perfect reconstruction by no counts, sqrt((1 - r2)^2 + (1 - zero_fraction)^2).
    ``kl`` is the divergence of the last posterior from the prior, so that ``nelbo`` is a bound; of predictive coding,
    which has no posterior, half the squared distance from the prior's mean.

    Args:
        iterative: the model.
        x: observations, shape (N, \\*shape), an array or what is read as one.
        exposure: length of each observation's window, shape (N,), for likelihoods of counts.
        beta: weight of the KL in ``paper_loss``.
        steps: number of steps of the inference.
        seed: seed of the samples.
        batch_size: number of observations at a time.
        potentials: potentials to start from, as those that an encoder gives; by default the prior's.
        together: whether all processes that are joined call it, and each takes a part of the batches.
    """
    totals, finals, curves, parts = Totals(), [], [], []
    x = x[:]
    size = min(batch_size, len(x))
    mine = slice(group.rank(), None, group.size()) if together else slice(None)
    for first in range(0, len(x), size)[mine]:
        # The last batch is filled up, so that all have one shape and compile once.
        rows = np.arange(first, first + size) % len(x)
        kept = slice(min(size, len(x) - first))
        data = [as_array(part[rows]) for part in (x, exposure) if part is not None]
        begin = None if potentials is None else jax.tree.map(lambda part, rows=rows: part[rows], potentials)
        state, recorded = iterative.infer(
            *data, steps=steps, seed=seed + first, potentials=begin, record=_curve_points(iterative.model.activation)
        )
        final = {name: part[kept] for name, part in _final(iterative, state, *data).items()}
        parts.append((final, [np.asarray(part[:, kept]) for part in recorded]))
    for final, curve in group.gathered(parts) if together else parts:
        totals.add(final)
        finals.append({name: final[name][:, 0] for name in ("r2", "squares")})
        curves.append(curve)
    whole = joined(finals)
    r2_curve, zeros, free_energy = (np.concatenate([curve[place] for curve in curves], 1) for place in range(3))
    evaluation = totals.evaluation(beta=beta if iterative.model.likelihood == "gaussian" else None)
    metrics, r2, squares = evaluation.metrics, whole["r2"], whole["squares"]
    finite = r2[np.isfinite(r2)]
    metrics["r2_median"] = float(np.median(finite)) if len(finite) else math.nan
    metrics["diverged"] = float(np.mean(diverged(x, squares)))
    with np.errstate(all="ignore"):
        mean_curve = np.array([finite_mean(step) for step in r2_curve])
        median_curve = np.array([np.nanmedian(step) if np.isfinite(step).any() else math.nan for step in r2_curve])
    metrics["convergence_step"] = convergence_step(mean_curve)
    metrics["distance"] = math.hypot(1 - metrics["r2"], 1 - metrics["zero_fraction"])
    return replace(evaluation, curves=Curves(mean_curve, median_curve, zeros.mean(1), free_energy.mean(1)))


def fit_after(iterative: Iterative, state: State, x: FloatArray, *data: Array) -> tuple[FloatArray, FloatArray]:
    """Returns R^2 and mean squared error, both (N,), of observations at a state of their inference.

    Args:
        iterative: the model.
        state: state of the inference.
        x: observations, shape (N, \\*shape).
        data: the observations, and where it is known their exposure, as arrays of JAX.
    """
    prediction = np.asarray(iterative.problem(*data).objective(state.z, *data).prediction)
    return r_squared_per_observation(x, prediction), squared_errors(x, prediction)


def convergence_step(r2: FloatArray) -> int:
    """Returns the first step, counted from 1, at which R^2 reaches 99 % of its last value.

    >>> convergence_step(np.array([0.2, 0.7, 0.795, 0.8]))
    3
    """
    return int(np.argmax(r2 >= CONVERGED * r2[-1])) + 1 if np.isfinite(r2[-1]) else len(r2)


@cache
def _curve_points(activation: str) -> Record:
    """Returns a function that records R^2, zeros and free energy; one an activation, as each function compiles anew."""

    def record(state: State, snapshot: Snapshot, x: Array, exposure: Array | None = None) -> tuple[Array, ...]:
        rows = x.reshape(len(x), -1)
        error = jnp.nansum(jnp.square(rows - snapshot.reconstruction.reshape(rows.shape)), 1)
        varied = jnp.nanmax(rows, 1) > jnp.nanmin(rows, 1)
        total = jnp.where(varied, jnp.nansum(jnp.square(rows - jnp.nanmean(rows, 1, keepdims=True)), 1), jnp.nan)
        return 1 - error / total, (ACTIVATIONS[activation](snapshot.z) == 0).mean(1), snapshot.free_energy

    return record


def _final(iterative: Iterative, state: State, x: Array, exposure: Array | None = None) -> dict[str, FloatArray]:
    """Returns the arrays of a batch that ``Totals`` takes; its one sample is that of the last step."""
    problem = iterative.problem(x, exposure)
    terms = problem.objective(state.z, *((x,) if exposure is None else (x, exposure)))
    counts = jnp.asarray(state.z) if iterative.model.has_counts else iterative.model.activity(state.z)
    posterior = problem.family.distribution(state.potentials)
    data, predictions = np.asarray(x), np.asarray(terms.prediction)
    return {
        "nll": np.asarray(terms.nll)[:, None],
        "kl": np.asarray(problem.family.kl(state.potentials, problem.prior)),
        "mean": np.asarray(posterior.mean),
        "variance": np.asarray(posterior.variance),
        "squares": squared_errors(data, predictions)[:, None],
        "r2": r_squared_per_observation(data, predictions)[:, None],
        "counts": np.asarray(counts)[:, None],
        "predictions": predictions,
    }


def diverged(x: FloatArray, squares: FloatArray) -> NDArray[np.bool_]:
    """Returns whether mean squared errors, shape (N,), exceed twice the variance of observations (N, \\*shape).

    A constant observation, which has no variance, does not diverge.
    """
    variance = np.nanvar(x, tuple(range(1, x.ndim)), dtype=np.float64)
    return ~(squares <= DIVERGED * np.where(variance > 0, variance, np.inf))
