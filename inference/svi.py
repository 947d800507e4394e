"""Training by stochastic variational inference, in torch."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from .loop import Row, run_epochs
from .parallel import processes
from .schedules import cosine


def train(
    elbo: Callable[..., Tensor],
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: Sequence[Any],
    *,
    epochs: int,
    batch_size: int,
    max_gradient_norm: float,
    anneal: Callable[[float], Mapping[str, float]],
    monitor: Callable[[], Mapping[str, float]],
    save: Callable[[dict[str, Any]], None],
    prepare: Callable[[Tensor], Tensor] = lambda x: x,
    learning_rate: Callable[[float], float] = cosine,
    checkpoint: dict[str, Any] | None = None,
    progress: bool = True,
) -> list[Row]:
    """Minimises the loss of an ELBO module over minibatches.

    Where ``torch.distributed`` is initialised, its processes divide every batch among them, and average the gradients.

    The random numbers come from torch's global generators, whose states are part of the checkpoint, so that training
    resumed from a checkpoint takes exactly the steps that it would have taken without the interruption.

    Args:
        elbo: function called with a batch of each tensor in ``data``; it returns the loss summed over the observations
            of the batch, as ``Trace_ELBO()(model, guide)`` does.
        module: module that holds the parameters and the state to save.
        optimizer: optimiser of the parameters; its learning rate is the peak of the schedule.
        data: observations, shape (N, \\*shape), and further tensors that the program takes, shapes (N, ...). They
            should be on the device of the parameters if there is room; otherwise batches are moved to this device.
            What has ``index_select`` as tensors do may stand for one.
        epochs: total number of passes over the data.
        batch_size: number of observations in a minibatch.
        max_gradient_norm: norm to which a larger gradient is clipped.
        anneal: function called before each step with the progress of training, from 0 to 1; it may set values, and
            returns the annealed values by name.
        monitor: function called at the start and after each epoch; it returns metrics for the history, among them
            ``mean_rate`` for the progress bar, and must leave torch's random state as it is.
        save: function called with a checkpoint before the first epoch and after every epoch.
        prepare: function that makes a batch of observations, on the device, ready for the program, for example by
            scaling or random flips.
        learning_rate: function of the progress of training that returns a factor on the learning rate.
        checkpoint: checkpoint that ``save`` received, to resume from.
        progress: whether to show a progress bar.

    Returns:
        The history, with one row for each epoch. Its ``elbo`` is the annealed objective per observation, in nats.

    Raises:
        NonFiniteLossError: if the loss or its gradient is not finite, before the weights are changed.
    """
    number_of_data = len(data[0])
    steps = epochs * math.ceil(number_of_data / batch_size)
    scheduler = LambdaLR(optimizer, lambda step: learning_rate(step / steps))
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    device = parameters[0].device
    history: list[Row] = []
    group = processes()

    def step(number: int, batch: Tensor, annealed: Mapping[str, float]) -> tuple[float, float, float]:
        optimizer.zero_grad()
        own = group.part(batch)
        x, *others = (part.index_select(0, own.to(part.device)).to(device, non_blocking=True) for part in data)
        # The mean over processes is that over the batch, also where they have parts of different sizes.
        share = group.size / len(batch) if len(own) < len(batch) else 1 / len(batch)
        loss = of_a_part(prepare(x), *others) * share
        loss.backward()
        # The only values that are read in a step, at once, as reading waits for the device.
        value, norm = group.mean(torch.stack([loss.detach(), _gradient_norm(parameters).to(loss)])).tolist()
        if math.isfinite(value) and math.isfinite(norm):
            if norm > max_gradient_norm:
                _scale_gradients(parameters, max_gradient_norm / norm)
            optimizer.step()
            scheduler.step()
        return value, norm, float(scheduler.get_last_lr()[0])

    def shuffled(epoch: int) -> Sequence[Tensor]:
        module.train()
        return group.order(number_of_data, device).split(batch_size)

    def save_now() -> None:
        save(_checkpoint(module, optimizer, scheduler, history))

    if checkpoint is None:
        save_now()
    else:
        _restore(checkpoint, module, optimizer, scheduler, history)
    of_a_part = group.loss(elbo, module)
    group.seed(len(history))
    run_epochs(
        step,
        history,
        number_of_data=number_of_data,
        epochs=epochs,
        batch_size=batch_size,
        shuffled=shuffled,
        anneal=anneal,
        monitor=monitor,
        save=save_now,
        progress=progress,
    )
    return history


def _gradient_norm(parameters: Sequence[Tensor]) -> Tensor:
    norms = [parameter.grad.norm() for parameter in parameters if parameter.grad is not None]
    return torch.stack(norms).norm() if norms else torch.zeros(())


def _scale_gradients(parameters: Sequence[Tensor], factor: float) -> None:
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.mul_(factor)


def _checkpoint(
    module: nn.Module, optimizer: torch.optim.Optimizer, scheduler: LambdaLR, history: list[Row]
) -> dict[str, Any]:
    return {
        "module": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "history": history,
        "random_state": torch.get_rng_state(),
        "cuda_random_states": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _restore(
    checkpoint: dict[str, Any],
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: LambdaLR,
    history: list[Row],
) -> None:
    module.load_state_dict(checkpoint["module"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    scheduler.load_state_dict(checkpoint["scheduler"])
    history.extend(checkpoint["history"])
    torch.set_rng_state(checkpoint["random_state"])
    if len(checkpoint["cuda_random_states"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(checkpoint["cuda_random_states"])
