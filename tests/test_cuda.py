"""What only a CUDA device shows: a training step in a graph, and how often the host waits."""

import warnings

import pyro
import pytest
import torch

from pyrocount import ArrivalTimes, GumbelSoftmax, RelaxedNegativeBinomial, RelaxedPoisson, SteinChen

from benchmarks.graph import CapturedStep
from test_hot_path import CAPTURED

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(autouse=True)
def _as_in_training():
    with pyro.validation_enabled(False), pyro.settings.context(module_local_params=True):
        yield


@pytest.mark.parametrize(("model", "estimator", "kl"), CAPTURED)
def test_a_step_in_a_graph_draws_anew_at_each_replay(model, estimator, kl):
    x = torch.randn(64, 4, device="cuda")
    step = CapturedStep(x, model=model, estimator=estimator, kl=kl, latent_dim=6)
    before = [parameter.detach().clone() for parameter in step.parameters]
    losses = torch.stack([step.replay().clone() for _ in range(20)])
    assert losses.isfinite().all()
    assert len(losses.unique()) > 10
    assert any(not torch.equal(old, new) for old, new in zip(before, step.parameters, strict=True))
    # Twenty steps of 1e-4 hardly change the loss: eager ones go on as replays do.
    eager = torch.stack([step.eager().detach() for _ in range(20)])
    spread = (losses.var() + eager.var()).sqrt() / 20**0.5
    assert (losses.mean() - eager.mean()).abs() < 6 * spread + 0.01 * losses.mean().abs()


@pytest.mark.parametrize(
    ("relaxation", "most"),
    [(SteinChen(), 0), (ArrivalTimes(0.1, hard=True), 1), (ArrivalTimes(0.1), 1), (GumbelSoftmax(0.1, 20), 1)],
    ids=repr,
)
@pytest.mark.parametrize("family", ["poisson", "negbio"])
def test_waits_for_the_device(relaxation, most, family):
    rate = (torch.rand(64, 64, device="cuda") + 0.1).requires_grad_()

    def work():
        if family == "poisson":
            d = RelaxedPoisson(rate, relaxation=relaxation, validate_args=False)
        else:
            d = RelaxedNegativeBinomial(rate, logits=rate, relaxation=relaxation, validate_args=False)
        d.rsample().sum().backward()

    work()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(caught) <= most
