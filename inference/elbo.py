"""ELBOs that Pyro does not have."""

from typing import Any

import torch
from pyro.distributions.util import scale_and_mask
from pyro.infer import TraceMeanField_ELBO
from pyro.infer.util import torch_item
from pyro.poutine import Trace
from torch import Tensor
from torch.distributions import kl_divergence


class StrictMeanField_ELBO(TraceMeanField_ELBO):  # noqa: N801  (named as Pyro names ELBOs)
    """``TraceMeanField_ELBO`` that never falls back to Monte Carlo.

    Where the KL divergence of a latent site is not known, Pyro's class takes a Monte Carlo estimate without a word, and
    where a site has no reparameterised samples its gradient is wrong unless validation is on. This one raises.

    Raises:
        NotImplementedError: by its losses, naming the site whose KL divergence is not known, whose samples carry no
            gradient, or that the guide alone has.
    """

    def _differentiable_loss_particle(self, model_trace: Trace, guide_trace: Trace) -> tuple[float, Tensor]:
        for name, site in guide_trace.nodes.items():
            if site["type"] == "sample" and name not in model_trace.nodes:
                raise NotImplementedError(f"site {name!r}: the guide has it and the model does not")
        elbo = torch.zeros(())
        for name, site in model_trace.nodes.items():
            if site["type"] == "sample":
                term = site["log_prob_sum"] if site["is_observed"] else -_kl(name, site, guide_trace.nodes[name])
                elbo = elbo.to(term.device) + term
        return -torch_item(elbo), -elbo


def _kl(name: str, model_site: Any, guide_site: Any) -> Tensor:
    q, p = guide_site["fn"], model_site["fn"]
    if not q.has_rsample:
        raise NotImplementedError(f"site {name!r}: samples of {q} carry no gradient")
    try:
        kl = kl_divergence(q, p)
    except NotImplementedError as error:
        raise NotImplementedError(f"site {name!r}: the KL divergence of {q} from {p} is not known") from error
    masked: Tensor = scale_and_mask(kl, scale=guide_site["scale"], mask=guide_site["mask"])
    return masked.sum()
