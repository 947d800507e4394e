"""ELBOs that Pyro does not have."""

from typing import Any

import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.distributions.util import scale_and_mask
from pyro.infer import Trace_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from pyro.infer.util import is_validation_enabled, torch_item
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import prune_subsample_sites
from torch import Tensor
from torch.distributions import kl_divergence


class _OnDevice:
    """ELBO whose differentiable loss is computed without reading a value, which would wait for the device.

    Pyro's classes read the loss of each particle, for its value and to look for NaN.
    """

    num_particles: int
    _get_traces: Any

    def loss_of_particle(self, model_trace: Trace, guide_trace: Trace) -> Tensor:
        """Returns the negative ELBO of the samples in two traces, with its gradient."""
        raise NotImplementedError

    def differentiable_loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Returns the negative ELBO of one minibatch, with its gradient."""
        losses = [self.loss_of_particle(*traces) for traces in self._get_traces(model, guide, args, kwargs)]
        return torch.stack(losses).sum() / self.num_particles

    def _differentiable_loss_particle(self, model_trace: Trace, guide_trace: Trace) -> tuple[float, Tensor]:
        loss = self.loss_of_particle(model_trace, guide_trace)
        return torch_item(loss), loss


class Pathwise_ELBO(_OnDevice, Trace_ELBO):  # noqa: N801
    """``Trace_ELBO`` for guides all of whose samples carry a gradient.

    Raises:
        NotImplementedError: when a loss is computed, naming the site, if samples of the guide carry no gradient.
    """

    def loss_of_particle(self, model_trace: Trace, guide_trace: Trace) -> Tensor:
        """Returns the log probability of the guide less that of the model."""
        for name, site in guide_trace.nodes.items():
            distribution: Any = site.get("fn")
            if site["type"] == "sample" and not site["is_observed"]:
                check_gradient(name, distribution)
        loss: Any = guide_trace.log_prob_sum() - model_trace.log_prob_sum()
        return loss


class StrictMeanField_ELBO(_OnDevice, TraceMeanField_ELBO):  # noqa: N801  (named as Pyro names ELBOs)
    """``TraceMeanField_ELBO`` that never falls back to Monte Carlo.

    Where the KL divergence of a latent site is not known, Pyro's class silently takes a Monte Carlo estimate. Where a
    site has no reparameterised samples, the gradient of Pyro's class is wrong unless validation is on. This class
    raises an error in both cases.

    Raises:
        NotImplementedError: when a loss is computed, naming the site, if the KL divergence of a latent site is not
            known, its samples carry no gradient, or only the guide has the site.
    """

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> tuple[Trace, Trace]:
        """Returns the traces of model and guide, with the log probabilities of the observed sites only.

        With validation on, the log probabilities of all sites are there, because Pyro's checks need them.
        """
        if is_validation_enabled() or isinstance(poutine.unwrap(guide), Messenger):
            return super()._get_trace(model, guide, args, kwargs)
        guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
        model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*args, **kwargs)
        guide_trace, model_trace = prune_subsample_sites(guide_trace), prune_subsample_sites(model_trace)
        model_trace.compute_log_prob(site_filter=lambda name, site: site["is_observed"])
        return model_trace, guide_trace

    def loss_of_particle(self, model_trace: Trace, guide_trace: Trace) -> Tensor:
        """Returns the divergences of the latent sites less the log probability of the data."""
        check_guide(model_trace, guide_trace)
        terms = [
            -site["log_prob_sum"] if site["is_observed"] else self.divergence(name, site, guide_trace.nodes[name]).sum()
            for name, site in model_trace.nodes.items()
            if site["type"] == "sample"
        ]
        # A first term from the host would make the host wait for the device.
        return sum(terms[1:], start=terms[0])

    def divergence(self, name: str, model_site: Any, guide_site: Any) -> Tensor:
        """Returns the KL divergence of a site, of its batch shape; see the function ``divergence``."""
        return divergence(name, model_site, guide_site)


class SampledKL_ELBO(StrictMeanField_ELBO):  # noqa: N801
    """``Pathwise_ELBO`` whose KL divergences have samples of their own, which no decoder sees.

    Many samples of a divergence cost little where those of the data are dear.

    Counts whose samples are capped, as by ``GumbelSoftmax``, need the densities of capped counts: the density of all
    counts at a small count falls without end as the posterior's rate rises, so that rates run away.

    Args:
        kl_samples: number of samples of the divergence of each latent site.
        max_count: largest count of a sample, if counts are capped; the latent sites are then count distributions.
        options: arguments of ``TraceMeanField_ELBO``.

    Raises:
        NotImplementedError: when a loss is computed, naming the site, if samples of a latent site carry no gradient,
            or only the guide has the site.
    """

    def __init__(self, kl_samples: int, max_count: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.kl_samples = kl_samples
        self.max_count = max_count

    def divergence(self, name: str, model_site: Any, guide_site: Any) -> Tensor:
        """Returns the mean log ratio of posterior and prior at samples of the posterior, of the site's batch shape."""
        q, p = guide_site["fn"], model_site["fn"]
        check_gradient(name, q)
        z = q.rsample((self.kl_samples,))
        ratio: Tensor = (q.log_prob(z) - p.log_prob(z)).mean(0)
        if self.max_count is not None:
            ratio = ratio + log_mass(p, self.max_count) - log_mass(q, self.max_count)
        return scaled(ratio, guide_site)


def log_mass(distribution: Any, max_count: int) -> Tensor:
    """Returns the log probability that counts are at most a largest one, summed over the event, of the batch shape."""
    event = len(distribution.event_shape)
    counts = (distribution.base_dist if event else distribution).counts
    support = torch.arange(max_count + 1, dtype=counts.mean.dtype, device=counts.mean.device)
    support = support.reshape(-1, *(1,) * len(counts.batch_shape))
    mass: Tensor = counts.log_prob(support).logsumexp(0)
    return mass.sum(tuple(range(-event, 0))) if event else mass


def check_guide(model_trace: Trace, guide_trace: Trace) -> None:
    """Checks that the model has all sites that the guide samples.

    Raises:
        NotImplementedError: naming the site, if it has not.
    """
    for name, site in guide_trace.nodes.items():
        if site["type"] == "sample" and name not in model_trace.nodes:
            raise NotImplementedError(f"site {name!r}: the guide has this site and the model does not")


def divergence(name: str, model_site: Any, guide_site: Any) -> Tensor:
    """Returns the exact KL divergence of a site, scaled and masked, of the batch shape of the site.

    Raises:
        NotImplementedError: naming the site, if the divergence is not known, or samples carry no gradient.
    """
    q, p = guide_site["fn"], model_site["fn"]
    check_gradient(name, q)
    try:
        kl = kl_divergence(q, p)
    except NotImplementedError as error:
        raise NotImplementedError(f"site {name!r}: the KL divergence of {q} from {p} is not known") from error
    return scaled(kl, guide_site)


def check_gradient(name: str, posterior: TorchDistribution) -> None:
    """Checks that samples of a site carry a gradient.

    Raises:
        NotImplementedError: naming the site, if they do not.
    """
    if not posterior.has_rsample:
        raise NotImplementedError(f"site {name!r}: samples of {posterior} carry no gradient")


def scaled(divergence: Tensor, guide_site: Any) -> Tensor:
    """Returns a divergence with the scale and the mask of its site."""
    masked: Tensor = scale_and_mask(divergence, scale=guide_site["scale"], mask=guide_site["mask"])
    return masked


class ScoreFunction_ELBO(TraceGraph_ELBO):  # noqa: N801
    """``TraceGraph_ELBO``, Pyro's score-function estimator with baselines, as a module with a differentiable loss.

    The value of the loss is the negative ELBO. Its gradient is that of Pyro's surrogate loss, which contains the loss
    of the baselines.
    """

    def differentiable_loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Returns the negative ELBO of one minibatch, with the gradient of the surrogate loss."""
        elbo, surrogate = self._loss_and_surrogate_loss(model, guide, args, kwargs)
        loss: Tensor = surrogate - surrogate.detach() - elbo.detach()
        return loss
