"""Speed of the Poisson and the Gamma sampler in JAX, as ratios to the samplers of ``jax.random``.

    python tests/benchmarks/samplers.py

Each row has the median time of 200 x 512 compiled draws by our sampler and by that of JAX, which take turns.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
from measure import medians

sys.path.insert(0, str(Path(__file__).parents[2]))

from pyrocount.numpyro import poisson
from pyrocount.numpyro.gamma_sampler import gamma

SHAPE = (200, 512)  # small: (4, 8)
REPEATS = 15


def draws(sampler, parameter):
    """Returns work that draws from a compiled sampler, each time with another key."""
    compiled, keys = jax.jit(sampler), iter(jax.random.split(jax.random.key(0), REPEATS + 1))
    return lambda: compiled(next(keys), parameter).block_until_ready()


def print_row(name, samplers, parameter, aim=""):
    """Prints one line of the table."""
    ours, reference = medians([draws(sampler, parameter) for sampler in samplers], REPEATS)
    print(f"{name:<44}{1e3 * ours:>7.2f} ms{1e3 * reference:>8.2f} ms{reference / ours:>7.1f}x  {aim}")


def gradient(sampler):
    """Returns the gradient of the sum of the samples with respect to the parameter."""
    return jax.grad(lambda key, parameter: sampler(key, parameter).sum(), 1)


if __name__ == "__main__":
    uniform = jax.random.uniform(jax.random.key(1), SHAPE)
    rates = {
        "uniform below 3": (3 * uniform, "4x, hoped 10x"),
        "exp(N(0, 1)), at most 3": (jnp.minimum(jnp.exp(jax.random.normal(jax.random.key(2), SHAPE)), 3), "4x"),
        "uniform below 12": (12 * uniform, "3x"),
        "uniform below 100": (100 * uniform, "3x"),
        "all 100": (jnp.full(SHAPE, 100.0), "3x"),
        "a hundredth of them 1000, others 1": (jnp.where(uniform < 0.01, 1000.0, 1.0), ""),
        "all 1000": (jnp.full(SHAPE, 1000.0), ""),
    }
    print(f"jax {jax.__version__}, {jax.devices()[0].platform}")
    print(f"{'':<44}{'ours':>10}{'jax':>11}{'speed':>8}  aim")
    for name, (rate, aim) in rates.items():
        print_row("Poisson, rates " + name, (poisson, jax.random.poisson), rate, aim)
    for concentration in (0.3, 1.0, 30.0):
        given = jnp.full(SHAPE, concentration)
        print_row(f"Gamma, concentration {concentration:g}", (gamma, jax.random.gamma), given)
        print_row("the same with its gradient", (gradient(gamma), gradient(jax.random.gamma)), given)
