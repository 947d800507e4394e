"""Speed of iterative inference, compared with a plain PyTorch loop and with the matrix products that it needs.

Run it as ``python tests/benchmarks/iterative.py``. It prints ratios of times, each a median over turns in one process.
"""

import time
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import Array
from measure import medians
from scipy import stats

from pyrocount.backends.iterative_model import Iterative, make_iterative, with_parameters
from pyrocount.inference.jax_training import OPTIMIZERS, optimizer_step
from pyrocount.inference.natural_gradient import Snapshot, State
from pyrocount.inference.unrolled import unrolled_loss
from pyrocount.models.networks import LayerOptions
from pyrocount.numpyro.relaxations import ArrivalTimes, Relaxation, SteinChen

LATENTS, VALUES, BATCH, TRAINED, TESTED = 512, 256, 200, 16, 100  # small: 8, 16, 4, 2, 3
STEP, BETA, TEMPERATURE = 0.3, 8.0, 0.1
# Seconds of pause before each turn: the threads of the other library wait busily at first, and must come to rest.
PAUSE = 0.3  # small: 0.0
LEARNED = ("decoder.0.weight", "prior.log_rate", "step.log_size")


def model() -> Iterative:
    torch.manual_seed(0)
    layers = LayerOptions(bias=False)
    fresh = make_iterative("iterative-poisson", (VALUES,), latent_dim=LATENTS, layers=layers, step_size=STEP)
    return with_parameters(fresh, {"decoder.0.weight": 0.015 * jax.random.normal(jax.random.key(0), (VALUES, LATENTS))})


class PlainTorch:
    """Plain loop in PyTorch: relaxed counts by stacked arrivals in training, and torch.poisson at test time."""

    def __init__(self, iterative: Iterative, x: Array) -> None:
        values = {name: torch.from_numpy(np.array(iterative.parameters[name])) for name in LEARNED}
        self.dictionary, self.log_rate, self.log_step = (value.requires_grad_() for value in values.values())
        self.bias = torch.from_numpy(np.array(iterative.parameters["step.bias"]))
        self.optimizer = torch.optim.Adamax([self.dictionary, self.log_rate, self.log_step], lr=1e-4)
        self.x = torch.from_numpy(np.array(x))

    def relaxed(self, u: torch.Tensor) -> torch.Tensor:
        rate = u.exp()
        arrivals = int(stats.poisson.ppf(1 - 1e-5, rate.max().item())) + 1
        times = torch.distributions.Exponential(rate).rsample((arrivals,)).cumsum(0)
        return torch.sigmoid((1 - times) / TEMPERATURE).sum(0)

    def moved(self, u: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        drive = 2 * (self.x - z @ self.dictionary.T) @ self.dictionary
        return (u + torch.tanh(self.log_step.exp() * drive - self.bias)).clamp(-8, 10)

    def train(self) -> None:
        u = self.log_rate.expand(BATCH, -1)
        z, loss = self.relaxed(u), torch.zeros(())
        for _ in range(TRAINED):
            new = self.moved(u, z)
            z = self.relaxed(new)
            kl = (u.exp() * ((new - u - 1) * (new - u).exp() + 1)).sum(1)
            loss = loss + ((self.x - z @ self.dictionary.T).square().sum(1) + BETA * kl).mean() / TRAINED
            u = new
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    @torch.no_grad()
    def infer(self) -> None:
        u = self.log_rate.expand(BATCH, -1)
        for _ in range(TESTED):
            u = self.moved(u, torch.poisson(u.exp()))

    @torch.no_grad()
    def products(self) -> None:
        z = torch.ones(BATCH, LATENTS)
        for _ in range(TESTED):
            z = 1e-3 * (self.x - z @ self.dictionary.T) @ self.dictionary


class Ours:
    """Training steps and inferences of this project."""

    def __init__(self, x: Array) -> None:
        self.iterative, self.x = model(), x
        self.parameters = {name: self.iterative.parameters[name] for name in LEARNED}
        optimizer = OPTIMIZERS["adamax"]()
        self.state = optimizer.init(self.parameters)
        self.steps = {
            kind: jax.jit(partial(optimizer_step, partial(self.loss, relaxation), optimizer))
            for kind, relaxation in (("stein", SteinChen()), ("arrival", ArrivalTimes(TEMPERATURE)))
        }
        self.four = jax.jit(
            jax.vmap(
                partial(optimizer_step, partial(self.loss, SteinChen()), optimizer),
                (None, None, None, None, 0, None, 0),
            )
        )
        self.problem = self.iterative.problem(x)

    def loss(self, relaxation: Relaxation, parameters: dict[str, Array], key: Array, x: Array, beta: Array) -> Array:
        problem = with_parameters(self.iterative, parameters).problem(x, relaxation=relaxation)
        return unrolled_loss(key, problem, x, steps=TRAINED, beta=beta).mean()

    def train(self, kind: str) -> None:
        jax.block_until_ready(
            self.steps[kind](self.parameters, self.state, 1e-4, 300.0, jax.random.key(0), self.x, jnp.asarray(BETA))
        )

    def train_four(self) -> None:
        keys, betas = jax.random.split(jax.random.key(0), 4), jnp.array([1.0, 4.0, 8.0, 16.0])
        jax.block_until_ready(self.four(self.parameters, self.state, 1e-4, 300.0, keys, self.x, betas))

    def infer(self) -> None:
        jax.block_until_ready(_inference(self.problem, self.x))

    def products(self) -> None:
        jax.block_until_ready(_products(self.problem.objective.dictionary, self.x))


def _curves(state: State, snapshot: Snapshot, x: Array) -> tuple[Array, Array]:
    return jnp.square(x - snapshot.reconstruction).sum(1), (snapshot.z == 0).mean(1)


@jax.jit
def _inference(problem, x):  # type: ignore[no-untyped-def]
    key_start, key_steps = jax.random.split(jax.random.key(0))
    return problem.run(jax.random.split(key_steps, TESTED), problem.start(key_start), _curves, x)


@jax.jit
def _products(dictionary: Array, x: Array) -> Array:
    def step(z: Array, _: None) -> tuple[Array, None]:
        return 1e-3 * ((x - z @ dictionary) @ dictionary.T), None

    return jax.lax.scan(step, jnp.ones((BATCH, LATENTS)), None, length=TESTED)[0]


def line(label: str, work: Callable[[], None], reference: Callable[[], None], aim: str, repeats: int = 9) -> str:
    """Returns one line of the table."""
    ours, theirs = medians((work, reference), repeats, before=partial(time.sleep, PAUSE))
    return f"{label:<62}{1e3 * ours:>9.1f} ms{1e3 * theirs:>9.1f} ms{ours / theirs:>8.2f}  {aim}"


def main() -> None:
    torch.set_num_threads(2)
    x = jax.random.normal(jax.random.key(1), (BATCH, VALUES))
    ours = Ours(x)
    plain = PlainTorch(ours.iterative, x)
    print(f"linear Poisson, {LATENTS} latents, {VALUES} values, batch {BATCH}, {TRAINED} and {TESTED} steps")
    print(f"{'':<62}{'ours':>12}{'reference':>12}{'ratio':>8}  aim")
    print(line("training step, stein / plain PyTorch", partial(ours.train, "stein"), plain.train, "1/8"))
    print(line("training step, arrival / plain PyTorch", partial(ours.train, "arrival"), plain.train, "1/8"))
    print(line("inference / plain PyTorch", ours.infer, plain.infer, ""))
    print(line("inference / its matrix products in JAX", ours.infer, ours.products, "3.3"))
    print(line("inference / its matrix products in torch", ours.infer, plain.products, "3.3"))
    print(line("four models at once / one", ours.train_four, partial(ours.train, "stein"), "4"))


if __name__ == "__main__":
    main()
