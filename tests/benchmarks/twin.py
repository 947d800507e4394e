"""Speed of the JAX twin's negative binomial beside its Poisson: training steps and divergences, as ratios.

    python tests/benchmarks/twin.py

A step is the gradient of NumPyro's ELBO of a linear autoencoder with Stein-Chen gradients; the pieces take turns.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpyro
from measure import medians
from numpyro import distributions as dist
from numpyro.distributions import kl_divergence
from numpyro.infer import Trace_ELBO, TraceMeanField_ELBO

sys.path.insert(0, str(Path(__file__).parents[2]))

from pyrocount.numpyro import RelaxedNegativeBinomial, RelaxedPoisson, SteinChen

LATENTS, VALUES, BATCH, REPEATS = 512, 256, 200, 15  # small: 8, 4, 4, 1
ANALYTIC, SAMPLED = TraceMeanField_ELBO(), Trace_ELBO()


def distributions(family, parameters, x):
    """Returns prior and posterior of a family: ``poisson``, ``shared`` or ``free`` (dispersion)."""
    first, second = jnp.split(x @ parameters["encoder"], 2, 1)
    log_rate, r = parameters["log_rate"], parameters["r"]
    if family == "poisson":
        return [RelaxedPoisson(log_rate=each, relaxation=SteinChen()) for each in (log_rate, log_rate + first)]
    other = r * jnp.exp(second)
    return [
        RelaxedNegativeBinomial(r, logits=log_rate, relaxation=SteinChen()),
        RelaxedNegativeBinomial(r if family == "shared" else other, logits=log_rate + first, relaxation=SteinChen()),
    ]


def step(elbo, family, parameters, x):
    """Returns work that takes the gradient of an ELBO."""

    def model(parameters, x):
        with numpyro.plate("data", len(x)):
            z = numpyro.sample("z", distributions(family, parameters, x)[0].expand((len(x), LATENTS)).to_event(1))
            numpyro.sample("x", dist.Normal(z @ parameters["decoder"], 1.0).to_event(1), obs=x)

    def guide(parameters, x):
        with numpyro.plate("data", len(x)):
            numpyro.sample("z", distributions(family, parameters, x)[1].to_event(1))

    gradient = jax.jit(jax.grad(lambda parameters, key: elbo.loss(key, {}, model, guide, parameters, x)))
    return lambda: jax.block_until_ready(gradient(parameters, jax.random.key(0)))


def divergence(family, parameters, x):
    """Returns work that takes the gradient of a divergence."""

    def total(parameters):
        prior, posterior = distributions(family, parameters, x)
        return kl_divergence(posterior, prior).sum()

    gradient = jax.jit(jax.grad(total))
    return lambda: jax.block_until_ready(gradient(parameters))


def main():
    keys = jax.random.split(jax.random.key(1), 3)
    x = jax.random.normal(keys[0], (BATCH, VALUES))
    parameters = {
        "encoder": 0.01 * jax.random.normal(keys[1], (VALUES, 2 * LATENTS)),
        "decoder": 0.05 * jax.random.normal(keys[2], (LATENTS, VALUES)),
        "log_rate": jnp.full(LATENTS, -0.7),
        "r": jnp.ones(LATENTS),
    }
    poisson = step(ANALYTIC, "poisson", parameters, x)
    print(f"{LATENTS} latents, {VALUES} values, batch {BATCH}, on {jax.devices()[0].platform}")
    print(f"{'':<40}{'ours':>10}{'Poisson':>11}{'ratio':>8}  aim")
    rows = [
        ("step, shared dispersion", step(ANALYTIC, "shared", parameters, x), poisson, "2"),
        ("step, Monte Carlo", step(SAMPLED, "free", parameters, x), poisson, "2"),
        ("step, exact", step(ANALYTIC, "free", parameters, x), poisson, "3"),
    ]
    plain = divergence("poisson", parameters, x)
    rows += [(f"KL, {name}", divergence(name, parameters, x), plain, "3") for name in ("shared", "free")]
    for name, ours, reference, aim in rows:
        taken, other = medians((ours, reference), REPEATS)
        print(f"{name:<40}{1e3 * taken:>7.2f} ms{1e3 * other:>8.2f} ms{taken / other:>7.2f}x  {aim}")


if __name__ == "__main__":
    main()
