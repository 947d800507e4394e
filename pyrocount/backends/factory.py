"""The backend of a configuration or of a model; JAX is imported only where an iterative model is used."""

from collections.abc import Sequence

from pyrocount.config import Config, RunOptions
from pyrocount.errors import require_extra
from pyrocount.models import VAE
from pyrocount.models.options import IterativeOptions, PrecisionOptions
from pyrocount.process.state import own_state

from .amortized import AmortizedBackend
from .amortized_training import build as build_vae
from .base import Backend, Model
from .devices import check_precision, torch_device


def build(config: Config, shape: Sequence[int], *, fitted: bool = False) -> Backend:
    """Builds the model of a configuration with fresh weights, in its backend.

    Args:
        config: options of the run.
        shape: shape of one observation.
        fitted: whether the model is to take fitted weights: then a VAE is on the CPU and JAX chooses its own device,
            wherever the configuration computes.

    Raises:
        InputError: naming ``model``, if JAX is not installed and the model needs it; ``device``, if there is none;
            ``precision``, if the device has no such arithmetic; or an option of the model that does not go with the
            shape.
    """
    if config.spec.inference != "iterative":
        device = torch_device("cpu" if fitted else config[RunOptions].device)
        if not fitted:
            check_precision(config[PrecisionOptions].precision, device)
        return AmortizedBackend(build_vae(config, shape, device))
    with require_extra("numpyro", "model", config.model):
        from .iterative import IterativeBackend
        from .iterative_training import build as build_iterative
    steps = config[IterativeOptions]
    with own_state():  # of JAX too, which is imported now
        backend = IterativeBackend(build_iterative(config, shape), steps.test_steps, steps.train_steps)
    return backend.to("auto" if fitted else config[RunOptions].device)


def as_backend(model: "Model | Backend", *, steps: int = 1000) -> Backend:
    """Returns the backend of a model, fresh or fitted.

    Args:
        model: a ``VAE`` or an ``Iterative``; a backend is returned as it is.
        steps: number of steps of iterative inference.
    """
    if isinstance(model, Backend):
        return model
    if isinstance(model, VAE):
        return AmortizedBackend(model)
    from .iterative import IterativeBackend

    return IterativeBackend(model, steps)
