import pyro
import pytest
import torch

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")),
]


@pytest.fixture(autouse=True)
def _fresh_pyro():
    pyro.set_rng_seed(0)
    pyro.clear_param_store()
    with pyro.settings.context(module_local_params=False):
        yield


@pytest.fixture(params=DEVICES)
def device(request):
    return torch.device(request.param)


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def dtype(request):
    return request.param
