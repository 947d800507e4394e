"""Figures of merit of iterative inference on held-out data: of exact counts, and as curves over the steps."""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from pyrocount.evaluation import Evaluation, finite_mean, joined, summary
from pyrocount.inference.natural_gradient import Record, Snapshot, State
from pyrocount.iterative import Iterative, as_array
from pyrocount.metrics import r_squared_of_each
from pyrocount.models.iterative import ACTIVATIONS

FloatArray = NDArray[np.floating[Any]]

# An input has diverged whose squared error is more than so many times its variance.
DIVERGED = 2.0
# Of the last R^2, at convergence.
CONVERGED = 0.99


@dataclass(frozen=True)
class Curves:
    """Averages over observations after each of T steps, shape (T,).

    Attributes:
        r2: mean R^2.
        r2_median: its median.
        zero_fraction: of the counts, or of what else the decoder sees.
        free_energy: nats per observation.
    """

    r2: FloatArray
    r2_median: FloatArray
    zero_fraction: FloatArray
    free_energy: FloatArray


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
) -> tuple[Evaluation, Curves]:
    """Infers data of shape (N, \\*shape) in exact counts and measures the state after the last step.

    Beside the figures of every model there are ``r2_median``; ``diverged``, the fraction of observations whose squared
    error exceeds twice their variance; ``convergence_step``, the first at which the mean R^2 reaches 99 % of its last
    value; and ``distance``, from a perfect reconstruction by no counts, sqrt((1 - r2)^2 + (1 - zero_fraction)^2).
    ``kl`` is the divergence of the last posterior from the prior, so that ``nelbo`` is a bound; of predictive coding,
    which has no posterior, half the squared distance from the prior's mean.

    Args:
        iterative: the model.
        x: observations, a NumPy array.
        exposure: length of each observation's window, shape (N,), for likelihoods of counts.
        beta: weight of the KL in ``paper_loss``.
        steps: of the inference.
        seed: of the samples.
        batch_size: observations at a time.
        potentials: to start from, as those that an encoder gives; by default the prior's.
    """
    parts, curves = [], []
    size = min(batch_size, len(x))
    for first in range(0, len(x), size):
        # The last batch is filled up, so that all have one shape and compile once.
        rows = np.arange(first, first + size) % len(x)
        kept = slice(min(size, len(x) - first))
        data = [as_array(part[rows]) for part in (x, exposure) if part is not None]
        begin = None if potentials is None else jax.tree.map(lambda part, rows=rows: part[rows], potentials)
        state, recorded = iterative.infer(
            *data, steps=steps, seed=seed + first, potentials=begin, record=_curve_points(iterative.model.activation)
        )
        parts.append({name: part[kept] for name, part in _final(iterative, state, *data).items()})
        curves.append([part[:, kept] for part in recorded])
    whole = joined(parts)
    r2_curve, zeros, free_energy = (np.concatenate([curve[place] for curve in curves], 1) for place in range(3))
    evaluation = summary(whole, beta=beta if iterative.model.likelihood == "gaussian" else None)
    figures, r2, squares = evaluation.figures, whole["r2"], whole["squares"][:, 0]
    finite = r2[np.isfinite(r2)]
    figures["r2_median"] = float(np.median(finite)) if len(finite) else math.nan
    figures["diverged"] = float(np.mean(~(squares <= DIVERGED * _variance(x))))
    with np.errstate(all="ignore"):
        mean_curve = np.array([finite_mean(step) for step in r2_curve])
        median_curve = np.array([np.nanmedian(step) if np.isfinite(step).any() else math.nan for step in r2_curve])
    figures["convergence_step"] = convergence_step(mean_curve)
    figures["distance"] = math.hypot(1 - figures["r2"], 1 - figures["zero_fraction"])
    return evaluation, Curves(mean_curve, median_curve, zeros.mean(1), free_energy.mean(1))


def convergence_step(r2: FloatArray) -> int:
    """The first step, counted from 1, at which R^2 reaches 99 % of its last value.

    >>> convergence_step(np.array([0.2, 0.7, 0.795, 0.8]))
    3
    """
    return int(np.argmax(r2 >= CONVERGED * r2[-1])) + 1 if np.isfinite(r2[-1]) else len(r2)


@cache
def _curve_points(activation: str) -> Record:
    """Records R^2, zeros and free energy of each observation; one function an activation, for each compiles anew."""

    def record(state: State, snapshot: Snapshot, x: Array, exposure: Array | None = None) -> tuple[Array, ...]:
        rows = x.reshape(len(x), -1)
        error = jnp.square(rows - snapshot.reconstruction.reshape(rows.shape)).sum(1)
        varied = rows.max(1) > rows.min(1)
        total = jnp.where(varied, jnp.square(rows - rows.mean(1, keepdims=True)).sum(1), jnp.nan)
        return 1 - error / total, (ACTIVATIONS[activation](snapshot.z) == 0).mean(1), snapshot.free_energy

    return record


def _final(iterative: Iterative, state: State, x: Array, exposure: Array | None = None) -> dict[str, FloatArray]:
    """What ``summary`` takes, of a batch, whose one sample is that of the last step."""
    problem = iterative.problem(x, exposure)
    terms = problem.objective(state.z, *((x,) if exposure is None else (x, exposure)))
    counts = jnp.asarray(state.z) if iterative.model.has_counts else iterative.model.active(state.z)
    data, predictions = np.asarray(x), np.asarray(terms.prediction)
    squares = np.square(predictions - data, dtype=np.float64).mean(tuple(range(1, data.ndim)))
    return {
        "nll": np.asarray(terms.nll)[:, None],
        "kl": np.asarray(problem.family.kl(state.potentials, problem.prior)),
        "squares": squares[:, None],
        "r2": r_squared_of_each(data, predictions)[:, None],
        "counts": np.asarray(counts)[:, None],
        "predictions": predictions,
    }


def _variance(x: FloatArray) -> FloatArray:
    """The variance of each observation; infinite for a constant one, which no error makes diverge."""
    variance = np.var(x, tuple(range(1, x.ndim)), dtype=np.float64)
    return np.where(variance > 0, variance, np.inf)
