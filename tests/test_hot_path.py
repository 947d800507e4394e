"""What a training step costs on a graphics card: no float64, which is many times slower there, and few waits for it."""

import pyro
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from pyrocount.backends import build
from pyrocount.backends.amortized_training import make_elbo
from pyrocount.config import Config
from pyrocount.data import from_array
from pyrocount.distributions import dispersion, elementwise, inversion, log_pmf, single
from pyrocount.inference import NonFiniteLossError

COUNTS = ["stein", "unbiased", "arrival", "arrival-hard", "gumbel", "straight-through"]
STEPS = [
    *(("poisson", estimator, kl) for estimator in COUNTS for kl in ("exact", "mc")),
    *(("negbio", estimator, kl) for estimator in COUNTS for kl in ("shared", "exact", "mc")),
    ("poisson", "score", "mc"),
    ("negbio", "score", "shared"),
    ("negbio", "score", "mc"),
    ("gaussian", "pathwise", "exact"),
    ("categorical", "gumbel", "exact"),
]


class Dtypes(TorchDispatchMode):
    """Records the operations whose results are float64."""

    def __init__(self):
        super().__init__()
        self.double = set()

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        result = operation(*arguments, **(options or {}))
        for each in result if isinstance(result, tuple | list) else [result]:
            if isinstance(each, torch.Tensor) and each.dtype == torch.float64:
                self.double.add(str(operation))
        return result


def step(model, estimator, kl):
    config = Config(model=model, estimator=estimator, kl=kl, latent_dim=6, encoder="lin", decoder="lin")
    vae = build(config, (4,)).model
    optimizer = torch.optim.Adam(vae.parameters(), fused=True)
    with Dtypes() as seen:
        make_elbo(config, vae)(torch.randn(20, 4)).backward()
        optimizer.step()
    return seen.double


@pytest.mark.parametrize("read", [True, False], ids=["read", "unread"])
@pytest.mark.parametrize(("model", "estimator", "kl"), STEPS)
def test_no_operation_is_in_double_precision(model, estimator, kl, read, monkeypatch):
    """On other devices values cannot be read without waiting, and counts are not drawn by inversion."""
    if not read:
        for module in (dispersion, elementwise, inversion, log_pmf, single):
            monkeypatch.setattr(module, "readable", lambda x: False)
    with pyro.validation_enabled(False), pyro.settings.context(module_local_params=True):
        assert not step(model, estimator, kl)


def test_the_operations_are_seen():
    with Dtypes() as seen:
        torch.ones(2).double().exp()
    assert {"aten._to_copy.default", "aten.exp.default"} <= seen.double


class Reads(TorchFunctionMode):
    """Counts the values that the host reads."""

    NAMES = ("item", "tolist", "numpy", "__bool__", "__float__", "__int__", "__index__")

    def __init__(self):
        super().__init__()
        self.number = 0

    def __torch_function__(self, function, types, arguments=(), options=None):
        self.number += getattr(function, "__name__", "") in self.NAMES
        return function(*arguments, **(options or {}))


def trained(steps, **options):
    """Trains a Gaussian VAE, whose latents read nothing on a CPU either; returns the number of reads."""
    config = Config(**{"latent_dim": 3, "encoder": "lin", "decoder": "lin", "epochs": 1, "batch_size": 10} | options)
    data = from_array(torch.randn(10 * steps, 4).numpy())
    backend = build(config, data.shape)
    with Reads() as seen:
        backend.train(config, data, monitor=lambda: {"mean_rate": 0.0}, save=lambda state: None, progress=False)
    return seen.number


@pytest.mark.parametrize("options", [{"kl": "exact"}, {"kl": "mc"}, {"kl": "mc", "samples": 3}], ids=str)
def test_a_step_reads_once(options):
    few, many = (trained(steps, model="gaussian", estimator="pathwise", **options) for steps in (3, 13))
    assert many - few == 10


def test_a_loss_that_is_not_finite_is_caught_at_its_step():
    with pytest.raises(NonFiniteLossError, match="step 1 "):
        trained(3, model="gaussian", estimator="pathwise", scale=1e-30)


@pytest.fixture
def gamma_without_values():
    """The shape of the derivative of a Gamma variable, which torch does not know for tensors without values."""
    library = torch.library.Library("aten", "IMPL")
    library.impl("_standard_gamma_grad", lambda concentration, value: torch.empty_like(value), "Meta")
    yield
    library._destroy()


class Moves(TorchDispatchMode):
    """Records the operations that move values from one device to another."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        result = operation(*arguments, **(options or {}))
        if "copy" in str(operation):
            devices = {each.device for each in (*arguments, result) if isinstance(each, torch.Tensor)}
            if len(devices) > 1:
                self.seen.add(str(operation))
        return result


# Arrivals are laid out by their numbers, which the host must know.
CAPTURED = [step for step in STEPS if not step[1].startswith("arrival")]


@pytest.mark.parametrize(("model", "estimator", "kl"), CAPTURED)
def test_a_step_needs_no_value_of_the_device(model, estimator, kl, gamma_without_values):
    """Tensors without values, as a CUDA graph sees them: a read, or a copy from the host, would end its capture."""
    config = Config(model=model, estimator=estimator, kl=kl, latent_dim=6, encoder="lin", decoder="lin")
    vae = build(config, (4,)).model.to("meta")
    x = torch.empty(20, 4, device="meta")
    with Moves() as moves, pyro.validation_enabled(False), pyro.settings.context(module_local_params=True):
        make_elbo(config, vae)(x).backward()
    assert not moves.seen
    assert all(parameter.grad is not None for parameter in vae.encoder.parameters())


def test_moves_and_reads_of_values_are_seen():
    with Moves() as moves:
        torch.zeros(()).to("meta")
    assert moves.seen == {"aten._to_copy.default"}
    with pytest.raises(RuntimeError, match="cannot be called on meta tensors"):
        torch.zeros((), device="meta").item()
