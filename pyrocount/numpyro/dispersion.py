"""KL divergence between negative binomials of one mean and two dispersions."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from pyrocount.numerics.quadrature import CAREFUL, FINE, GAUSSIAN, MOST

# The total_count that stands for a Poisson distribution; at this value every term below has reached its limit.
POISSON = {"float64": 1e200, "float32": 1e20}
RULES = {"float64": FINE, "float32": CAREFUL}
# Means and differences of total_counts up to which the rules of few nodes hold, for float32.
MODERATE = 100.0
# The numbers of their nodes; their t and weights, shape (rule, node), padded to one number of nodes.
NUMBERS = np.array([len(nodes) for nodes in GAUSSIAN.values()])
FEW_T, FEW_WEIGHTS = np.stack(
    [np.pad(nodes, [(0, NUMBERS.max() - len(nodes)), (0, 0)], constant_values=1.0).T for nodes in GAUSSIAN.values()], 1
)

Sums = tuple[Array, Array, Array, Array]


@jax.jit
def dispersion_divergence(mean: Array, total_count: Array, other: Array) -> Array:
    r"""Computes KL(NB(r, m) || NB(s, m)) for a mean m and total_counts r and s, all of one shape.

    By the Malmsten-type integral of log gamma, the divergence is

    .. math::
        \int_0^\infty \frac{e^{-st} - e^{-rt}}{t}\, B(t)\, dt + s \log(1 + m/s) - r \log(1 + m/r), \qquad
        B(t) = \frac{1 - E e^{-zt}}{1 - e^{-t}} - m e^{-mt},

    where z follows NB(r, m). The term :math:`m e^{-mt}`, whose integral has a closed form, leaves an integrand that is
    small where the divergence is small, and that has a limit for Poisson distributions, where r or s is infinite. One
    node is added at a time, so that the memory stays at the size of the arguments. Second derivatives need forward
    mode, as in ``jax.hessian``.
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


def _integrate(m: Array, r: Array, s: Array) -> Sums:
    """Computes the divergence and its derivatives with respect to m, r and s."""
    rule = RULES[m.dtype.name]
    smaller, gap = jnp.minimum(r, s), jnp.abs(r - s)
    # For t below this scale the integrand is about proportional to t; for large t it falls as the smaller decay.
    slope = 1 + m + m / r
    # The integral does not depend on the positions of the nodes, so that these need no gradient.
    scale = jax.lax.stop_gradient(1 / (slope + jnp.minimum(r + s, rule.largest * slope)))
    reach = jax.lax.stop_gradient(1 / (smaller * scale))
    reach = jnp.max(reach, initial=0.0, where=jnp.isfinite(reach))
    longest = jnp.clip(jnp.log(rule.decay * reach), 0.0, MOST)
    number = (jnp.ceil((longest - rule.start) / rule.step) + 1).astype(int)
    sums = (jnp.zeros_like(m),) * 4
    if rule is CAREFUL:
        moderate = jax.lax.stop_gradient(jnp.maximum(m, gap).max(initial=0.0)) < MODERATE
        few = moderate & (reach <= max(GAUSSIAN))
        chosen = jnp.searchsorted(jnp.array(list(GAUSSIAN)), reach)
        tables = [jnp.asarray(table, m.dtype)[chosen] for table in (FEW_T, FEW_WEIGHTS)]

        def add_one_of_few(node: int, sums: Sums) -> Sums:
            t, weight = (table[node] for table in tables)
            return _with_one_of_few(sums, scale * t, weight, m, r, s)

        sums = jax.lax.fori_loop(0, jnp.where(few, jnp.asarray(NUMBERS)[chosen], 0), add_one_of_few, sums)
        number = jnp.where(few, 0, number)

    def add(node: int, sums: Sums) -> Sums:
        x = rule.start + node * rule.step
        t, weight = jnp.exp(x - jnp.exp(-x)), rule.step * (1 + jnp.exp(-x))
        return _with_node(sums, scale * t, weight, m, r, s)

    value, for_m, for_r, for_s = jax.lax.fori_loop(0, number, add, sums)
    log_q, log_p = jnp.log1p(m / r), jnp.log1p(m / s)
    return (
        jnp.maximum(value + s * log_p - r * log_q, 0.0),
        for_m + s / (s + m) - r / (r + m),
        for_r - log_q + m / (r + m),
        for_s + log_p - m / (s + m),
    )


def _with_one_of_few(sums: Sums, t: Array, weight: Array, m: Array, r: Array, s: Array) -> Sums:
    """Adds a node of the integrals to their sums, in forms that cancel for larger arguments than ``MODERATE``."""
    value, for_m, for_r, for_s = sums
    mass = -jnp.expm1(-t)
    odds = m / r
    ratio = odds * mass
    log_ratio = jnp.log1p(ratio)
    rest, decay, of_r, of_s = (jnp.exp(-x) for x in (r * log_ratio, m * t, r * t, s * t))
    bracket = (1 - rest) / mass - m * decay
    difference = (of_s - of_r) * weight
    shifted = rest / (1 + ratio)
    part = weight * t * bracket
    return (
        value + difference * bracket,
        for_m + difference * (shifted - decay * (1 - m * t)),
        for_r + of_r * part + difference * (rest * log_ratio / mass - shifted * odds),
        for_s - of_s * part,
    )


def _with_node(sums: Sums, t: Array, weight: Array, m: Array, r: Array, s: Array) -> Sums:
    """Adds a node of the integrals to their sums."""
    value, for_m, for_r, for_s = sums
    sign = jnp.where(r < s, -1.0, 1.0).astype(m.dtype)
    mass = -jnp.expm1(-t)
    ratio = m * mass / r
    log_transform = r * jnp.log1p(ratio)
    complement = -jnp.expm1(-log_transform)
    decay = jnp.exp(-m * t)
    bracket = complement / mass - m * decay
    slow = jnp.exp(-jnp.minimum(r, s) * t)
    faster = jnp.expm1(-sign * (r - s) * t)
    difference = -sign * slow * faster * weight
    fast = slow * (1 + faster)
    shifted = (1 - complement) / (1 + ratio)
    return (
        value + difference * bracket,
        for_m + difference * (shifted - decay * (1 - m * t)),
        for_r
        + jnp.where(r <= s, slow, fast) * weight * t * bracket
        + difference * ((1 - complement) * log_transform / r - shifted * ratio) / mass,
        for_s - jnp.where(s < r, slow, fast) * weight * t * bracket,
    )
