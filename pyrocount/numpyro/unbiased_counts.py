"""ELBO with an unbiased gradient through counts, for any NumPyro program."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import Literal
from numpyro import handlers
from numpyro.distributions import ExpandedDistribution, Independent, MaskedDistribution, kl_divergence
from numpyro.infer import ELBO
from numpyro.primitives import Messenger

from pyrocount.errors import InputError

from .count_distribution import CountDistribution
from .relaxations import Discrete, with_log_derivative

Site = dict[str, Any]


class UnbiasedCount_ELBO(ELBO):  # noqa: N801  (named as NumPyro names ELBOs)
    r"""ELBO whose gradient through sampled counts is unbiased, whatever the model does with the counts.

    It is the twin of ``pyrocount.inference.UnbiasedCount_ELBO``, which explains the rule and its limits. It takes the
    place of ``TraceMeanField_ELBO``, or of ``Trace_ELBO`` with ``analytic_kl=False``.

    Args:
        num_particles: number of samples of the loss.
        vectorize_particles: whether they are taken at once, see ``numpyro.infer.ELBO``.
        neighbours: number of latents of each observation that are corrected, each at the cost of a pass.
        analytic_kl: whether divergences of latent sites are exact; if not, they are sampled.

    Raises:
        InputError: if ``neighbours`` is not a positive whole number.
        NotImplementedError: when a loss is computed, naming the site, if the guide draws no counts, another site of the
            guide depends on counts, or a term of the loss that depends on counts is outside one of their plates.
    """

    # NumPyro would warn of latents without a gradient.
    can_infer_discrete = True

    def __init__(
        self,
        num_particles: int = 1,
        vectorize_particles: bool | Callable[..., Any] = True,
        *,
        neighbours: int = 1,
        analytic_kl: bool = True,
    ) -> None:
        if not isinstance(neighbours, int) or neighbours < 1:
            raise InputError("neighbours", neighbours, "a positive whole number")
        super().__init__(num_particles, vectorize_particles)
        self.neighbours = neighbours
        self.analytic_kl = analytic_kl

    def loss_with_mutable_state(
        self, rng_key: Array, param_map: dict[str, Any], model: Any, guide: Any, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """Returns the negative ELBO, in nats, as ``loss``; programs with mutable sites are refused."""

        def particle(key: Array) -> Array:
            return self._loss(key, param_map, model, guide, args, kwargs)

        if self.num_particles == 1:
            return {"loss": particle(rng_key), "mutable_state": None}
        losses = self.vectorize_particles_fn(particle, jax.random.split(rng_key, self.num_particles))
        return {"loss": losses.mean(), "mutable_state": None}

    def _loss(self, key: Array, parameters: Any, model: Any, guide: Any, args: Any, kwargs: Any) -> Array:
        keys = jax.random.split(key)

        def run(program: Any, key: Array, parameters: Any, known: Mapping[str, Site]) -> dict[str, Site]:
            replayed = handlers.replay(handlers.seed(program, key), known)
            sites: dict[str, Site] = handlers.trace(handlers.substitute(replayed, parameters)).get_trace(
                *args, **kwargs
            )
            return sites

        drawn = _ExactCounts(self.neighbours)
        with drawn:
            guided = run(guide, keys[0], parameters, {})
        if not drawn.counts:
            raise NotImplementedError("guide: it draws no RelaxedPoisson or RelaxedNegativeBinomial counts")
        sites = run(model, keys[1], parameters, guided)
        for name, site in (guided | sites).items():
            if site["type"] == "mutable":
                raise NotImplementedError(f"site {name!r}: it is mutable, as in layers that mix observations")
        terms = self._terms(sites, guided)
        loss = sum((term.value.sum() for term in terms.values()), start=jnp.zeros(()))
        fixed, known = lax.stop_gradient((parameters, _values(guided)))
        for name, counts in drawn.counts.items():
            _check_independence(name, counts, guided, lambda sites: run(guide, keys[0], fixed, sites))

            def others(z: Array, name: str = name) -> dict[str, _Term]:
                values = {other: {**guided[other], "value": value} for other, value in known.items()}
                values[name] = {**guided[name], "value": z}
                return self._terms(run(model, keys[1], fixed, values), values, corrected=name)

            for number in range(self.neighbours):
                change = _change(name, guided[name], counts.neighbour(number), terms, others)
                loss = loss + counts.correction(number, *lax.stop_gradient(change))
        return loss

    def _terms(
        self, sites: Mapping[str, Site], guided: Mapping[str, Site], corrected: str | None = None
    ) -> dict[str, "_Term"]:
        """Returns the terms of the loss by site, without the exact divergence of a site that is corrected."""
        for name, site in guided.items():
            if site["type"] == "sample" and not site["is_observed"] and name not in sites:
                raise NotImplementedError(f"site {name!r}: the guide has this site and the model does not")
        terms = {}
        for name, site in sites.items():
            if site["type"] != "sample":
                continue
            if site["is_observed"]:
                term = -_log_probability(site)
            elif name not in guided:
                raise NotImplementedError(f"site {name!r}: the model has this site and the guide does not")
            elif not self.analytic_kl:
                term = _log_probability(guided[name]) - _log_probability(site)
            elif name == corrected:
                continue
            else:
                term = _scaled(kl_divergence(guided[name]["fn"], site["fn"]), guided[name])
            terms[name] = _Term(term, _plates(site))
        return terms


class _Term(NamedTuple):
    """Term of the loss at a site: its values, scaled and masked, of the batch shape of the site, and their plates."""

    value: Array
    plates: frozenset[str]


class _Counts:
    """Counts of units, some of whose latents have a neighbour; see ``pyrocount.inference.neighbours.Counts``.

    Args:
        key: random key.
        rate: their rates, shape (\\*plates, \\*event).
        plates: number of leftmost dimensions that are plates.
        neighbours: number of neighbours of each unit.
    """

    def __init__(self, key: Array, rate: Array, plates: int, neighbours: int) -> None:
        key, key_places = jax.random.split(key)
        self._shape = rate.shape
        self._rate = rate.reshape(*rate.shape[:plates], -1)
        fixed = lax.stop_gradient(self._rate)
        self._drawn, _ = Discrete().draw(key, fixed)
        expected = fixed.sum(-1, keepdims=True)
        self._blend = expected / (expected + 2 * neighbours)
        self._place, self._weight = draw_places(key_places, fixed, neighbours)
        slope = fixed + self._blend * (self._drawn - fixed) / 2
        slope -= (1 - self._blend / 2) * (self._weight[..., None] * self._place).sum(-2)
        self.value = with_log_derivative(self._drawn, self._rate, slope).reshape(self._shape)

    def neighbour(self, number: int) -> Array:
        """Returns the counts of a neighbour of each unit."""
        return (self._drawn + self._place[..., number, :]).reshape(self._shape)

    def correction(self, number: int, difference: Array, gradient: Array) -> Array:
        """Returns 0 with a gradient, which corrects that of the counts if it is added to the loss."""
        place = self._place[..., number, :]
        there = (gradient.reshape(place.shape) * place).sum(-1)
        rest = self._weight[..., number] * (difference - self._blend[..., 0] / 2 * there)
        return nothing_with_gradient(self._rate, place * rest[..., None]).sum()


def draw_places(key: Array, rate: Array, number: int) -> tuple[Array, Array]:
    """Draws latents of units, half of them in proportion to the rates and half uniformly.

    Args:
        key: random key.
        rate: rates of K latents, shape (..., K).
        number: number of latents of each unit.

    Returns:
        The latents, as 1 at their place among 0s, shape (..., number, K), and their rates over the expected number of
        times that they are drawn, shape (..., number).
    """
    share = rate / jnp.maximum(rate.sum(-1, keepdims=True), jnp.finfo(rate.dtype).tiny)
    ends = jnp.cumsum(share + 1 / rate.shape[-1], -1)
    start = jax.random.uniform(key, (*rate.shape[:-1], 1), rate.dtype)
    # Points at equal distances, with one random start: the same latent is rarely drawn twice.
    points = (jnp.arange(number) + start) / number * ends[..., -1:]
    index = jnp.minimum((ends[..., None, :] <= points[..., None]).sum(-1), rate.shape[-1] - 1)
    place = jax.nn.one_hot(index, rate.shape[-1], dtype=rate.dtype)
    chance = number * (place * (jnp.diff(ends, axis=-1, prepend=0.0) / ends[..., -1:])[..., None, :]).sum(-1)
    return place, (place * rate[..., None, :]).sum(-1) / chance


def nothing_with_gradient(rate: Array, gradient: Array) -> Array:
    """Returns 0s that have this gradient with respect to the logarithms of rates, all of one shape."""
    return with_log_derivative(jnp.zeros_like(rate), rate, lax.stop_gradient(gradient))


class _ExactCounts(Messenger):
    """Draws the counts of a guide exactly, and keeps them by the name of the site."""

    def __init__(self, neighbours: int) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.counts: dict[str, _Counts] = {}

    def process_message(self, msg: Site) -> None:
        if msg["type"] != "sample" or msg["is_observed"] or msg["value"] is not None:
            return
        base = msg["fn"]
        while isinstance(base, Independent | ExpandedDistribution | MaskedDistribution):
            base = base.base_dist
        if isinstance(base, CountDistribution):
            rate, key = base.draw_rate(msg["kwargs"]["rng_key"], msg["fn"].shape())
            self.counts[msg["name"]] = _Counts(key, rate, len(msg["fn"].batch_shape), self.neighbours)
            msg["value"] = self.counts[msg["name"]].value


def _values(sites: Mapping[str, Site]) -> dict[str, Any]:
    return {name: site["value"] for name, site in sites.items() if site["type"] in ("sample", "plate")}


def _plates(site: Site) -> frozenset[str]:
    return frozenset(frame.name for frame in site["cond_indep_stack"])


def _scaled(value: Array, site: Site) -> Array:
    return value if site["scale"] is None else site["scale"] * value


def _log_probability(site: Site) -> Array:
    return _scaled(site["fn"].log_prob(site["value"]), site)


def _check_independence(
    name: str, counts: _Counts, guided: Mapping[str, Site], run: Callable[[Mapping[str, Site]], Mapping[str, Site]]
) -> None:
    """Checks that no later site of a guide depends on the counts of a site."""
    order = [other for other, site in guided.items() if site["type"] == "sample"]
    later = order[order.index(name) + 1 :]
    if not later:
        return

    def densities(z: Array) -> list[Array]:
        sites = run({**guided, name: {**guided[name], "value": z}})
        return [_log_probability({**sites[other], "value": guided[other]["value"]}) for other in later]

    for other, depends in zip(later, _dependences(densities, counts.value), strict=True):
        if depends:
            raise NotImplementedError(f"site {name!r}: its counts feed site {other!r} of the guide")


def _change(
    name: str, site: Site, z: Array, before: Mapping[str, _Term], others: Callable[[Array], dict[str, _Term]]
) -> tuple[Array, Array]:
    """Returns how the loss of each unit changes from the counts at a site to others, and its gradient there."""
    plates, shape = _plates(site), site["fn"].batch_shape
    outside = [other for other, term in before.items() if not plates <= term.plates and other != name]
    if outside:
        found = _dependences(lambda z: [term.value for other, term in others(z).items() if other in outside], z)
        for other, depends in zip(outside, found, strict=True):
            if depends:
                missing = ", ".join(sorted(plates - before[other].plates))
                problem = f"it depends on the counts {name!r} outside their plate {missing}"
                raise NotImplementedError(f"site {other!r}: {problem}")

    def total(z: Array) -> tuple[Array, Array]:
        terms = {other: term.value for other, term in others(z).items() if other not in outside}
        changes = [_sum_to(value - lax.stop_gradient(before[other].value), shape) for other, value in terms.items()]
        change = sum(changes, start=jnp.zeros(shape, z.dtype))
        return change.sum(), change

    (_, change), gradient = jax.value_and_grad(total, has_aux=True)(z)
    return change, gradient


def _sum_to(value: Array, shape: tuple[int, ...]) -> Array:
    """Sums the dimensions that a shape, aligned at the right, does not have."""
    value = value.sum(tuple(range(value.ndim - len(shape))))
    missing = tuple(axis for axis, size in enumerate(shape) if size == 1 < value.shape[axis])
    return value.sum(missing, keepdims=True)


def _dependences(function: Callable[[Array], Sequence[Array]], x: Array) -> list[bool]:
    """Returns for each value of a function whether it depends on the argument, by the operations that lead to it."""
    return _reached(jax.make_jaxpr(function)(x).jaxpr, [True])


def _reached(program: Any, inputs: Sequence[bool]) -> list[bool]:
    """Returns which outputs of a program of JAX's depend on some of its inputs."""
    found = {variable for variable, given in zip(program.invars, inputs, strict=True) if given}
    for equation in program.eqns:
        given = [not isinstance(variable, Literal) and variable in found for variable in equation.invars]
        if any(given):
            # A compiled function is a program of its own; other operations mix all that they take.
            inner = equation.params.get("jaxpr") if equation.primitive.name in ("jit", "pjit") else None
            reached = [True] * len(equation.outvars) if inner is None else _reached(inner.jaxpr, given)
            found |= {variable for variable, is_found in zip(equation.outvars, reached, strict=True) if is_found}
    return [not isinstance(variable, Literal) and variable in found for variable in program.outvars]
