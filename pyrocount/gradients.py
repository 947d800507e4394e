"""Comparison of gradient estimators for counts by bias, spread and time, against the exact gradient."""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast, overload

import numpy as np
import torch
from pyro.nn import PyroModule
from scipy import stats
from torch import Tensor
from torch.distributions import Distribution, Independent

from pyrocount.distributions import (
    ArrivalTimes,
    Discrete,
    GumbelSoftmax,
    Relaxation,
    RelaxedNegativeBinomial,
    RelaxedPoisson,
    SteinChen,
    StraightThrough,
)
from pyrocount.errors import InputError
from pyrocount.inference.neighbours import Counts as NeighbouringCounts
from pyrocount.models import VAE, CountLatent, GaussianLikelihood, linear_weight, prediction_moments

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Counts = RelaxedPoisson | RelaxedNegativeBinomial
Function = Callable[[Tensor], Tensor]

# Number of parts into which the draws of an estimator are divided; each part is differentiated, and timed, as one.
CHUNKS = 10


@dataclass(frozen=True)
class UnbiasedCounts:
    """Estimator of ``UnbiasedCount_ELBO``: the rule of ``SteinChen``, corrected by values at neighbouring counts.

    Attributes:
        neighbours: number of counts of each sample that are corrected.
    """

    neighbours: int = 1


Estimator = Relaxation | UnbiasedCounts


@dataclass(frozen=True)
class GradientEstimate:
    """Bias, spread and time of one gradient estimator.

    Attributes:
        estimator: name of the estimator.
        bias: distance of the estimator's mean from the exact gradient. It is the root of the squared distance minus the
            part that sampling noise is expected to add, or 0 if this difference is negative.
        resolution: bias that an unbiased estimator shows by chance: the root of the standard deviation of the
            difference under the root in ``bias``. A bias below about twice the resolution means nothing.
        spread: standard deviation of one sample.
        milliseconds: time to draw, evaluate and differentiate one sample, among many that are drawn together.
    """

    estimator: str
    bias: float
    resolution: float
    spread: float
    milliseconds: float


@dataclass(frozen=True)
class GradientReport:
    """Comparison of gradient estimators, with bias, resolution and spread in units of the exact gradient's norm.

    Attributes:
        estimates: bias, spread and time of each estimator.
        exact: exact gradient with respect to the log means, of the shape of the posterior's mean.
        exact_error: standard error of ``exact``, of the same shape; 0 if ``exact`` has a closed form.
    """

    estimates: tuple[GradientEstimate, ...]
    exact: Tensor
    exact_error: Tensor

    def table(self) -> str:
        """Returns a table with one line for each estimator."""
        width = max(len(estimate.estimator) for estimate in self.estimates)
        lines = [f"{'estimator':<{width}}{'bias':>10}{'+-':>9}{'sd':>10}{'ms':>10}"]
        for each in self.estimates:
            numbers = f"{each.bias:>10.4f}{each.resolution:>9.4f}{each.spread:>10.3f}{each.milliseconds:>10.4f}"
            lines.append(f"{each.estimator:<{width}}{numbers}")
        return "\n".join(lines)

    def plot(self) -> "Figure":
        """Draws bias, spread and time of the estimators side by side."""
        from pyrocount import figures

        rows = [(each.estimator, each.bias, each.resolution, each.spread, each.milliseconds) for each in self.estimates]
        return figures.gradient_estimators(*zip(*rows, strict=True))


@overload
def gradient_report(
    model: Function,
    given: Distribution,
    estimators: Mapping[str, Estimator] | None = None,
    *,
    samples: int = 2000,
    exact_samples: int = 20_000,
) -> GradientReport: ...
@overload
def gradient_report(
    model: VAE,
    given: Tensor,
    estimators: Mapping[str, Estimator] | None = None,
    *,
    samples: int = 2000,
    exact_samples: int = 20_000,
) -> GradientReport: ...
def gradient_report(
    model: Function | VAE,
    given: Distribution | Tensor,
    estimators: Mapping[str, Estimator] | None = None,
    *,
    samples: int = 2000,
    exact_samples: int = 20_000,
) -> GradientReport:
    r"""Compares gradient estimators for the expectation of a function of counts.

    The gradient is that of :math:`E f(Z)`, summed over the batch, with respect to the log mean of each count; for a
    negative binomial, total_count is fixed. Each estimator is compared with the exact gradient. The exact gradient has
    a closed form for a VAE with a linear decoder and a Gaussian likelihood. Otherwise it follows from finite
    differences of the count,

    .. math:: \frac{d\,E f}{d \log\lambda} = \lambda\, E[f(Z + 1) - f(Z)], \qquad
              \frac{d\,E f}{d \log\mu} = \mu\, E\Big[\frac{Z + r}{\mu + r} (f(Z + 1) - f(Z))\Big],

    estimated by a mean over samples, whose standard error is part of ``resolution``. A relaxation without a gradient
    stands for the score function estimator, with the mean of the other samples as its baseline. Random numbers come
    from torch's generators.

    Args:
        model: differentiable function of counts (S, \*batch, K) with values (S, \*batch), or a VAE, whose negative log
            likelihood is the function.
        given: distribution of the counts, a ``RelaxedPoisson`` or a ``RelaxedNegativeBinomial`` of shape (\*batch, K),
            possibly within an ``Independent``; or batch of data for the VAE, shape (N, \*shape).
        estimators: relaxations to compare, or ``UnbiasedCounts()``, by name; by default one of each kind.
        samples: number of samples of each estimator, at least 20; they are drawn in ten equal parts.
        exact_samples: number of samples for the finite differences, which are evaluated for one count after the other.

    Returns:
        Bias, spread and time of each estimator, and the exact gradient.

    Raises:
        InputError: naming the argument that is out of range.

    References:
        Jankowiak and Obermeyer, Pathwise Derivatives Beyond the Reparameterization Trick, ICML 2018; Cong et al., GO
        Gradient for Expectation-Based Objectives, ICLR 2019 (finite differences).

    >>> _ = torch.manual_seed(0)
    >>> q = RelaxedPoisson(torch.tensor([0.5, 2.0]))
    >>> report = gradient_report(lambda z: (z.sum(-1) - 1) ** 2, q, {"Stein-Chen": SteinChen()})
    >>> report.estimates[0].bias < 4 * report.estimates[0].resolution
    True
    """
    for name, value, least in (("samples", samples, 2 * CHUNKS), ("exact_samples", exact_samples, 2)):
        if not isinstance(value, int) or value < least:
            raise InputError(name, repr(value), f"a whole number of at least {least}")
    function, counts = _program(model, given)
    mean = counts.counts.mean.detach()
    exact, exact_error = _exact(model, given, function, counts, exact_samples)
    norm = exact.norm().item()
    if not 0 < norm < math.inf:
        raise InputError("model", f"an exact gradient of norm {norm}", "a norm that is finite and not 0")
    if exact_error.norm().item() > norm / 2:
        error = f"an error of {exact_error.norm() / norm:.0%}"
        problem = f"{exact_samples} samples, which leave the exact gradient with {error}"
        raise InputError("exact_samples", problem, "more samples")

    estimates = []
    for name, relaxation in (default_estimators(counts) if estimators is None else estimators).items():
        first, second, seconds = torch.zeros_like(exact), torch.zeros_like(exact), []
        number = samples // CHUNKS
        for _ in range(CHUNKS):
            _wait(mean)
            started = time.perf_counter()
            gradients = _gradients(function, counts, relaxation, number)
            _wait(mean)
            seconds.append((time.perf_counter() - started) / number)
            first += (gradients - exact).sum(0)
            second += (gradients - exact).square().sum(0)
        number *= CHUNKS
        variance = ((second - first**2 / number) / (number - 1)).clamp(min=0)
        noise = variance / number + exact_error**2
        bias = math.sqrt(max(0.0, ((first / number).square() - noise).sum().item()))
        resolution = math.sqrt(math.sqrt(2) * noise.norm().item())
        spread = math.sqrt(variance.sum().item())
        found = (bias / norm, resolution / norm, spread / norm, 1000 * statistics.median(seconds))
        estimates.append(GradientEstimate(name, *found))
    return GradientReport(tuple(estimates), exact, exact_error)


def default_estimators(counts: Counts) -> dict[str, Estimator]:
    """Returns one estimator of each kind by name.

    The support of the Gumbel-softmax covers all but a millionth of the counts.
    """
    mean = counts.counts.mean.detach().double().cpu().numpy()
    if isinstance(counts, RelaxedPoisson):
        distribution = stats.poisson(mean)
    else:
        total_count = counts.total_count.detach().double().cpu().numpy()
        distribution = stats.nbinom(total_count, total_count / (total_count + mean))
    max_count = max(1, int(np.max(distribution.isf(1e-6))))
    return {
        "arrival times, cubic, 0.1": ArrivalTimes(0.1),
        "arrival times, sigmoid, 0.1": ArrivalTimes(0.1, "sigmoid"),
        "arrival times, hard, 0.1": ArrivalTimes(0.1, hard=True),
        "Gumbel-softmax, 0.1": GumbelSoftmax(0.1, max_count),
        "Stein-Chen": SteinChen(),
        "unbiased": UnbiasedCounts(),
        "straight-through": StraightThrough(),
        "score function": Discrete(),
    }


def _program(model: Function | VAE, given: Distribution | Tensor) -> tuple[Function, Counts]:
    if isinstance(given, Tensor):
        vae, x = cast(VAE, model), given
        if not isinstance(vae.latent, CountLatent):
            raise InputError("model", f"a VAE with a {type(vae.latent).__name__}", "a VAE with latent counts")

        def negative_log_likelihood(z: Tensor) -> Tensor:
            values: Tensor = vae.observed(z).log_prob(x)
            return -values.flatten(z.ndim - 1).sum(-1)

        with torch.no_grad():
            return negative_log_likelihood, vae.posterior(x)
    if isinstance(model, PyroModule):
        raise InputError("given", type(given).__name__, "a tensor of data for the VAE")
    counts = given.base_dist if isinstance(given, Independent) else given
    if not isinstance(counts, Counts) or not counts.batch_shape:
        raise InputError("given", f"{given}", "a RelaxedPoisson or RelaxedNegativeBinomial of at least one dimension")
    return model, counts


def _made(counts: Counts, log_mean: Tensor, relaxation: Relaxation) -> Counts:
    """Returns the distribution with another log mean and another relaxation."""
    if isinstance(counts, RelaxedPoisson):
        return RelaxedPoisson(log_rate=log_mean, relaxation=relaxation, validate_args=False)
    total_count = counts.total_count.detach()
    logits = log_mean - total_count.log()
    return RelaxedNegativeBinomial(total_count, logits=logits, relaxation=relaxation, validate_args=False)


def _values(function: Function, z: Tensor) -> Tensor:
    values = function(z)
    if values.shape != z.shape[:-1]:
        problem = f"values of shape {tuple(values.shape)} for counts of shape {tuple(z.shape)}"
        raise InputError("model", problem, f"values of shape {tuple(z.shape[:-1])}")
    return values


def _gradients(function: Function, counts: Counts, estimator: Estimator, samples: int) -> Tensor:
    """Returns a gradient for each sample, shape (samples, \\*batch, K)."""
    log_mean = counts.counts.mean.detach().log().expand(samples, *counts.batch_shape).contiguous().requires_grad_()
    with torch.enable_grad():
        if isinstance(estimator, UnbiasedCounts):
            objective = _corrected(function, _made(counts, log_mean, SteinChen()), estimator.neighbours)
        elif estimator.has_rsample:
            objective = _values(function, _made(counts, log_mean, estimator).rsample())
        else:
            q = _made(counts, log_mean, estimator)
            z = q.sample()
            values = _values(function, z.clone()).detach()
            others = (values.sum(0) - values) / (samples - 1)
            objective = (values - others) * q.log_prob(z).sum(-1)
    if not objective.requires_grad:
        raise InputError("model", "values without a gradient", "a differentiable function of the counts")
    (gradients,) = torch.autograd.grad(objective.sum(), log_mean)
    return gradients


def _corrected(function: Function, q: Counts, neighbours: int) -> Tensor:
    """Returns the sum of the values at counts, with a gradient that is corrected by those at neighbouring counts."""
    counts = NeighbouringCounts(q, len(q.batch_shape) - 1, neighbours)
    values = _values(function, counts.value)
    total = values.sum()
    for number in range(neighbours):
        z = counts.neighbour(number)
        others = _values(function, z)
        (gradient,) = torch.autograd.grad(others.sum(), z)
        total = total + counts.correction(number, (others - values).detach(), gradient)
    return total


def _exact(model: Any, given: Any, function: Function, counts: Counts, samples: int) -> tuple[Tensor, Tensor]:
    """Returns the exact gradient and its standard error."""
    linear = isinstance(given, Tensor) and linear_weight(model.decoder) is not None
    if linear and isinstance(model.likelihood, GaussianLikelihood):
        scale = model.likelihood.scale.item()
        gradient = _linear_gradient(model, given, counts).double() / (2 * scale**2)
        return gradient, torch.zeros_like(gradient)
    mean = counts.counts.mean.detach()
    first, second, done = torch.zeros_like(mean.double()), torch.zeros_like(mean.double()), 0
    with torch.no_grad():
        while done < samples:
            number = min(samples - done, max(2, 2**22 // mean.numel()))
            z = counts.counts.sample((number,))
            if isinstance(counts, RelaxedPoisson):
                weight = mean.expand_as(z)
            else:
                weight = mean * (z + counts.total_count) / (mean + counts.total_count)
            values = _values(function, z.clone())
            for k in range(z.shape[-1]):
                z[..., k] += 1
                step = (weight[..., k] * (_values(function, z.clone()) - values)).double()
                z[..., k] -= 1
                first[..., k] += step.sum(0)
                second[..., k] += step.square().sum(0)
            done += number
    variance = ((second - first**2 / samples) / (samples - 1)).clamp(min=0)
    return first / samples, (variance / samples).sqrt()


def _linear_gradient(vae: VAE, x: Tensor, counts: Counts) -> Tensor:
    """Returns the gradient of E|x - Phi z|^2 with respect to the log means."""
    log_mean = counts.counts.mean.detach().log().requires_grad_()
    with torch.enable_grad():
        mean, scatter = prediction_moments(vae, _made(counts, log_mean, Discrete()))
        squares = (x - mean).square().sum() + scatter.sum()
    (gradient,) = torch.autograd.grad(squares, log_mean)
    return gradient


def _wait(tensor: Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
