"""KL divergence between negative binomials of one mean and two dispersions."""

import math

import jax
import jax.numpy as jnp
from jax import Array

# The total_count that stands for a Poisson distribution; at this value every term below has reached its limit.
POISSON = {"float64": 1e200, "float32": 1e20}
# Largest step in log t, and the parts of the integral that are left out below the first node and beyond the last. In
# float64 the absolute error is 1e-9 for means from 1e-4 to 1e4 and total_counts from 1e-3 to 1e6.
ACCURACY = {"float64": (0.34, 1e-11, math.exp(-40)), "float32": (0.58, 1e-6, math.exp(-18))}
# Largest number of nodes.
MOST_NODES = 1024


@jax.jit
def dispersion_divergence(mean: Array, total_count: Array, other: Array) -> Array:
    r"""Computes KL(NB(r, m) || NB(s, m)) for a mean m and total_counts r and s, all of one shape.

    By the Malmsten-type integral of log gamma, the divergence is

    .. math::
        \int_0^\infty \frac{e^{-st} - e^{-rt}}{t}\, B(t)\, dt + s \log(1 + m/s) - r \log(1 + m/r), \qquad
        B(t) = \frac{1 - E e^{-zt}}{1 - e^{-t}} - m e^{-mt},

    where z follows NB(r, m). The term :math:`m e^{-mt}`, whose integral has a closed form, leaves an integrand that is
    small where the divergence is small, and that has a limit for Poisson distributions, where r or s is infinite. The
    trapezoid rule in log t adds one node at a time, so that the memory stays at the size of the arguments. Second
    derivatives need forward mode, as in ``jax.hessian``.
    """
    return _divergence(mean, total_count, other)


@jax.custom_jvp
def _divergence(mean: Array, total_count: Array, other: Array) -> Array:
    return _integrate(mean, total_count, other)[0]


@_divergence.defjvp
def _jvp(primals: tuple[Array, Array, Array], tangents: tuple[Array, Array, Array]) -> tuple[Array, Array]:
    value, *slopes = _integrate(*primals)
    change = [slope * tangent for slope, tangent in zip(slopes, tangents, strict=True)]
    return value, change[0] + change[1] + change[2]


def _integrate(m: Array, r: Array, s: Array) -> tuple[Array, Array, Array, Array]:
    """Computes the divergence and its derivatives with respect to m, r and s."""
    longest, below, beyond = ACCURACY[m.dtype.name]
    sign = jnp.where(r < s, -1.0, 1.0).astype(m.dtype)
    gap = sign * (r - s)
    smaller = jnp.minimum(r, s)
    # Near t = 0 the integrand is about slope * t * min(1, gap * t); for large t it is at most exp(-smaller * t).
    slope = m * (m * (1 + 1 / r) + 1)
    tiny = jnp.finfo(m.dtype).tiny
    start = jnp.log(jnp.maximum(below / slope, jnp.sqrt(below / slope / jnp.maximum(gap, tiny))))
    # The integral does not depend on the positions of the nodes, so that these need no gradient.
    start = jax.lax.stop_gradient(jnp.minimum(start, -jnp.log(smaller)))
    length = math.log(-math.log(beyond)) - jnp.log(smaller) - start
    nodes = jnp.clip(jnp.ceil(jnp.max(length, initial=0.0, where=jnp.isfinite(length)) / longest) + 1, 2, MOST_NODES)
    step = jax.lax.stop_gradient(length) / (nodes - 1)

    def add(node: int, sums: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        value, for_m, for_r, for_s = sums
        t = jnp.exp(start + node * step)
        mass = -jnp.expm1(-t)
        ratio = m * mass / r
        log_transform = r * jnp.log1p(ratio)
        complement = -jnp.expm1(-log_transform)
        decay = jnp.exp(-m * t)
        bracket = complement / mass - m * decay
        slow = jnp.exp(-smaller * t)
        faster = jnp.expm1(-gap * t)
        difference = -sign * slow * faster
        fast = slow * (1 + faster)
        shifted = (1 - complement) / (1 + ratio)
        return (
            value + difference * bracket,
            for_m + difference * (shifted - decay * (1 - m * t)),
            for_r
            + jnp.where(r <= s, slow, fast) * t * bracket
            + difference * ((1 - complement) * log_transform / r - shifted * ratio) / mass,
            for_s - jnp.where(s < r, slow, fast) * t * bracket,
        )

    zero = jnp.zeros_like(m)
    value, for_m, for_r, for_s = jax.lax.fori_loop(0, nodes.astype(int), add, (zero, zero, zero, zero))
    log_q, log_p = jnp.log1p(m / r), jnp.log1p(m / s)
    return (
        jnp.maximum(value * step + s * log_p - r * log_q, 0.0),
        for_m * step + s / (s + m) - r / (r + m),
        for_r * step - log_q + m / (r + m),
        for_s * step + log_p - m / (s + m),
    )
