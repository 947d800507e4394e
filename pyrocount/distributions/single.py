"""Log probabilities of counts for float32 tensors, without float64: what would cancel is arranged not to.

The parameters are logarithms: a log rate, or logits. Counts from ``MANY`` on are treated as in C. Loader, Fast and
Accurate Computation of Binomial Probabilities, 2000. Gamma functions of smaller arguments are those of arguments
that are larger by ``SHIFT``, where a Stirling series of few terms is exact to float32, less the factors between.
"""

import torch
from torch import Tensor

from .deviance import negative_binomial_deviance, poisson_deviance
from .elementwise import finite, select
from .overrides import readable
from .special import HALF_LOG_TWO_PI, STIRLING_FROM, exp, log1p, log_probs

SHIFT = 4
# Count from which on a deviance is needed, so that nothing cancels.
MANY = 32.0
# log 2 in two parts: multiples of the first by whole numbers are exact.
LOG_2, LOG_2_REST = 0.693145751953125, 1.42860676533018e-6
# Logarithm below which the exponential is nearly a subnormal number, and a number whose inverse is finite.
SMALLEST_EXPONENT, SMALL = -80.0, 1e-36


def poisson_log_pmf(k: Tensor, log_rate: Tensor) -> Tensor:
    """Returns the log probability of counts k >= 0."""
    if readable(k) and k.amax() < MANY:
        return _few_poisson(k, log_rate)
    return select(k >= MANY, _many_poisson, _few_poisson, k, log_rate)


def negative_binomial_log_pmf(k: Tensor, r: Tensor, logits: Tensor) -> Tensor:
    """Returns the log probability of counts k >= 0."""
    if readable(k) and k.amax() < MANY:
        return _few_negative_binomial(k, r, logits)
    return select(k >= MANY, _many_negative_binomial, _few_negative_binomial, k, r, logits)


def digamma(x: Tensor) -> Tensor:
    """Returns the logarithmic derivative of the gamma function for x > 0."""
    y = x + SHIFT
    square = (x + 3).mul_(x)
    # The sum of 1 / (x + i) for i from 0 to 3.
    between = (1 / square).add_(1 / square.add_(2)).mul_(x + 1.5).mul_(2)
    inverse = 1 / y
    return y.log_().sub_(inverse / 2).sub_(_digamma_rest(inverse)).sub_(between)


def digamma_difference(k: Tensor, r: Tensor) -> Tensor:
    """Returns digamma(k + r) - digamma(r) for k >= 0, with a small relative error."""
    x, z = 1 / (r + SHIFT), 1 / (k + (r + SHIFT))
    # The terms 1 / (2 y) of the two series differ by little.
    result = log1p(k * x).add_((k * (x / 2)).mul_(z)).add_(_digamma_rest(x)).sub_(_digamma_rest(z))
    for i in range(SHIFT):
        result.add_((k / (k + (r + i))).div_(r + i))
    return result


def log_ratio(a: Tensor, b: Tensor, log: Tensor) -> Tensor:
    """Returns log - log(a / b) for positive numbers, with an absolute error near 1e-9 where the result is near 0.

    With a power of 2 taken out, log(a / b) is 2 artanh(u) for u = (a - b) / (a + b), and u is kept in two parts.
    """
    exponent = torch.round(a.log2() - b.log2())
    # In two steps, as a power of 2 for the whole way could overflow.
    half = torch.floor(exponent / 2)
    b = torch.ldexp(torch.ldexp(b, half), exponent - half)
    difference, total = a - b, a + b
    lost = (a - total) + b
    u = difference / total
    rest = (-_product_error(u, total, difference) - u * lost) / total
    square = u * u
    tail = 2 * u * square * (1 / 3 + square * (1 / 5 + square * (1 / 7 + square * (1 / 9 + square / 11))))
    return ((log - exponent * LOG_2) - 2 * u) - (exponent * LOG_2_REST + (2 * rest + tail))


def _few_poisson(k: Tensor, log_rate: Tensor) -> Tensor:
    # The product of a count of 0 with a finite logarithm is 0.
    return (k * finite(log_rate)).sub_(exp(log_rate)).sub_(_log_factorial(k))


def _many_poisson(k: Tensor, log_rate: Tensor) -> Tensor:
    delta = -log_ratio(k, torch.ones_like(k), log_rate)
    return -poisson_deviance(k, exp(log_rate), delta) - HALF_LOG_TWO_PI - k.log() / 2 - _stirling_series(1 / k)


def _few_negative_binomial(k: Tensor, r: Tensor, logits: Tensor) -> Tensor:
    base = r + SHIFT
    shifted = k + base
    if readable(logits) and logits.amin() > SMALLEST_EXPONENT:
        log_mean = _log_of_product(shifted, logits)
    else:
        log_mean = select(logits < SMALLEST_EXPONENT, _sum_of_logs, _log_of_product, shifted, logits)
    smooth = log1p(k / base).mul_(base - 0.5).sub_(k)
    series = _stirling_series(1 / shifted).sub_(_stirling_series(1 / base))
    between = 1 + k / r.clamp(min=SMALL)
    between = between.log_().add_(((1 + k / (r + 1)).mul_(1 + k / (r + 2)).mul_(1 + k / (r + 3))).log_())
    result = (k * finite(log_mean)).add_(r * log_probs(logits)[1])
    return result.add_(smooth).add_(series).sub_(between).sub_(_log_factorial(k))


def _log_of_product(y: Tensor, logits: Tensor) -> Tensor:
    return (y * torch.sigmoid(logits)).log_()


def _sum_of_logs(y: Tensor, logits: Tensor) -> Tensor:
    """Returns log(y p) where p underflows."""
    return y.log() + logits


def _many_negative_binomial(k: Tensor, r: Tensor, logits: Tensor) -> Tensor:
    delta = -log_ratio(k, r, logits)
    errors = _stirling_series(1 / (k + r)) - _stirling_series(1 / k) - _stirling_error(r)
    scale = (r.log() - k.log() - torch.log(k + r)) / 2
    return -negative_binomial_deviance(k, r, logits, delta) - HALF_LOG_TWO_PI + scale + errors


def _log_factorial(k: Tensor) -> Tensor:
    """Returns lgamma(k + 1) for 0 <= k <= ``MANY``."""
    y = k + (SHIFT + 1)
    square = k * (k + 5)
    factors = (square + 4).mul_(square + 6)
    power = y.log().mul_(y - 0.5).sub_(y)
    return power.add_(_stirling_series(1 / y)).add_(HALF_LOG_TWO_PI).sub_(factors.log_())


def _stirling_series(x: Tensor) -> Tensor:
    """Returns lgamma(y) - [(y - 1/2) log y - y + log(2 pi) / 2] for y = 1 / x >= ``SHIFT``."""
    square = x * x
    return (square / 1260).sub_(1 / 360).mul_(square).add_(1 / 12).mul_(x)


def _stirling_error(r: Tensor) -> Tensor:
    """Returns the value of ``_stirling_series`` for any r > 0."""

    def direct(r: Tensor) -> Tensor:
        y = r + SHIFT
        power = (y - 0.5) * y.log() - (r - 0.5) * r.log() - SHIFT
        return power + _stirling_series(1 / y) - torch.log(r * (r + 1) * (r + 2) * (r + 3))

    return select(r >= STIRLING_FROM, lambda r: _stirling_series(1 / r), direct, r)


def _digamma_rest(x: Tensor) -> Tensor:
    """Returns log y - digamma(y) - 1 / (2 y) for y = 1 / x >= ``SHIFT``."""
    square = x * x
    return (square / 240).sub_(1 / 252).mul_(square).add_(1 / 120).mul_(square).neg_().add_(1 / 12).mul_(square)


def _product_error(a: Tensor, b: Tensor, product: Tensor) -> Tensor:
    """Returns a b - product without rounding of the product, for a product of almost this value (Dekker, 1971)."""
    (a, a_rest), (b, b_rest) = _split(a), _split(b)
    return (((a * b - product) + a * b_rest) + a_rest * b) + a_rest * b_rest


def _split(x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns two numbers of 12 bits whose sum is x."""
    # A product with 2^12 + 1 could overflow; the exponent is set aside.
    mantissa, exponent = torch.frexp(x)
    scaled = mantissa * 4097.0
    high = scaled - (scaled - mantissa)
    return torch.ldexp(high, exponent), torch.ldexp(mantissa - high, exponent)
