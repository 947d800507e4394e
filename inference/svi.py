"""The training loop of stochastic variational inference."""

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from .schedules import cosine

Row = dict[str, float]


class NonFiniteLossError(ArithmeticError):
    """The loss or its gradient became NaN or infinite; the weights are those before that step.

    Attributes:
        step: the step, counted from 1 over the whole of training.
        epoch: the epoch it belongs to, counted from 1.
    """

    def __init__(self, step: int, epoch: int, loss: float, gradient_norm: float) -> None:
        super().__init__(f"step {step} (epoch {epoch}): loss {loss:g}, gradient norm {gradient_norm:g}")
        self.step = step
        self.epoch = epoch


def train(
    elbo: Callable[..., Tensor],
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: Sequence[Tensor],
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
) -> list[Row]:
    """Minimises an ELBO module over minibatches.

    Randomness comes from torch's global generators, whose states are part of the checkpoint: training that goes on
    from a checkpoint takes the very steps that it would have taken without the interruption.

    Args:
        elbo: gives the loss of a batch, summed over its observations, such as ``Trace_ELBO()(model, guide)``; called
            with a batch of each of ``data``.
        module: holds the parameters and the state to save.
        optimizer: over the parameters; its learning rate is the peak of the schedule.
        data: observations, shape (N, \\*shape), and what else the program takes of each, shapes (N, ...). On the device
            of the parameters where there is room; batches are moved there otherwise.
        epochs: passes over the data, in all.
        batch_size: observations a step.
        max_gradient_norm: to which the gradient is clipped.
        anneal: called before each step with the progress of training, from 0 to 1; sets what it likes and returns it.
        monitor: called at the start and after each epoch; gives figures for the history, among them ``mean_rate`` for
            the progress bar; must leave torch's random state as it is.
        save: called with a checkpoint before the first epoch and after every epoch.
        prepare: makes a batch of observations, on the device, ready for the program: units, random flips.
        learning_rate: factor on the learning rate by the progress of training.
        checkpoint: one that ``save`` was given, to go on from there.

    Returns:
        The history, a row an epoch. Its ``elbo`` is the annealed objective per observation, in nats.

    Raises:
        NonFiniteLossError: if the loss or its gradient is not finite, before the weights are changed.
    """
    number_of_data = len(data[0])
    steps_per_epoch = math.ceil(number_of_data / batch_size)
    steps = epochs * steps_per_epoch
    scheduler = LambdaLR(optimizer, lambda step: learning_rate(step / steps))
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    device = parameters[0].device
    history: list[Row] = []

    if checkpoint is None:
        save(_checkpoint(module, optimizer, scheduler, history))
    else:
        _restore(checkpoint, module, optimizer, scheduler, history)

    with _progress_bar(steps, done=len(history) * steps_per_epoch) as bar:
        mean_rate, shown = monitor()["mean_rate"], -math.inf
        for epoch in range(len(history), epochs):
            module.train()
            started = time.perf_counter()
            total = 0.0
            for number, batch in enumerate(torch.randperm(number_of_data).split(batch_size), start=1):
                step = epoch * steps_per_epoch + number
                annealed = anneal((step - 1) / steps)

                optimizer.zero_grad()
                x, *others = (
                    part.index_select(0, batch.to(part.device)).to(device, non_blocking=True) for part in data
                )
                loss = elbo(prepare(x), *others) / len(batch)
                loss.backward()
                value, norm = loss.item(), _gradient_norm(parameters)
                if not (math.isfinite(value) and math.isfinite(norm)):
                    raise NonFiniteLossError(step, epoch + 1, value, norm)
                if norm > max_gradient_norm:
                    _scale_gradients(parameters, max_gradient_norm / norm)
                optimizer.step()
                scheduler.step()

                total += value * len(batch)
                seconds = (time.perf_counter() - started) / number
                # Text only where it will be shown: fast steps would spend a part of their time on it.
                if number == steps_per_epoch or time.perf_counter() - shown > bar.mininterval:
                    shown = time.perf_counter()
                    bar.set_postfix_str(
                        f"epoch={epoch + 1}/{epochs}, elbo={-value:.2f}, rate={mean_rate:.3f}, "
                        f"step={1000 * seconds:.1f}ms",
                        refresh=False,
                    )
                bar.update()

            figures = monitor()
            mean_rate = figures["mean_rate"]
            history.append(
                {
                    "epoch": epoch + 1,
                    "step": step,
                    "elbo": -total / number_of_data,
                    **annealed,
                    "learning_rate": float(scheduler.get_last_lr()[0]),
                    "gradient_norm": norm,
                    "step_ms": 1000 * seconds,
                    **figures,
                }
            )
            save(_checkpoint(module, optimizer, scheduler, history))
    return history


def _gradient_norm(parameters: Sequence[Tensor]) -> float:
    norms = [parameter.grad.norm() for parameter in parameters if parameter.grad is not None]
    return torch.stack(norms).norm().item() if norms else 0.0


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


def _progress_bar(steps: int, done: int) -> "tqdm[NoReturn]":
    # Where nobody watches, in a log file, a line every ten seconds is enough.
    interval = 0.2 if sys.stderr.isatty() else 10.0
    return tqdm(total=steps, initial=done, desc="training", unit="step", mininterval=interval, dynamic_ncols=True)
