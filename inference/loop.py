"""Training loop over epochs and minibatches, shared by both backends."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pyrocount.process.progress import progress_bar

Row = dict[str, float]


class NonFiniteLossError(ArithmeticError):
    """Error for a loss or a gradient that became NaN or infinite; the weights are those before that step.

    Attributes:
        step: number of the step, counted from 1 over the whole of training.
        epoch: number of the epoch of the step, counted from 1.
        loss: loss per observation at the step.
        gradient_norm: norm of its gradient.
    """

    def __init__(self, step: int, epoch: int, loss: float, gradient_norm: float) -> None:
        # Pickle and copy call the class with the arguments that the base class received.
        super().__init__(step, epoch, loss, gradient_norm)
        self.step = step
        self.epoch = epoch
        self.loss = loss
        self.gradient_norm = gradient_norm

    def __str__(self) -> str:
        return f"step {self.step} (epoch {self.epoch}): loss {self.loss:g}, gradient norm {self.gradient_norm:g}"


def run_epochs(
    step: Callable[[int, Any, Mapping[str, float]], tuple[float, float, float]],
    history: list[Row],
    *,
    number_of_data: int,
    epochs: int,
    batch_size: int,
    shuffled: Callable[[int], Sequence[Any]],
    anneal: Callable[[float], Mapping[str, float]],
    monitor: Callable[[], Mapping[str, float]],
    save: Callable[[], None],
    progress: bool = True,
) -> None:
    """Takes the steps of the epochs that the history does not contain yet, and adds a row for each epoch.

    Args:
        step: function of the number of the step, counted from 0 over the whole of training, a minibatch, and the
            annealed values; it returns the loss per observation, the norm of its gradient, and the learning rate. It
            leaves the weights as they are if the loss or the norm is not finite.
        history: rows of the epochs so far, to which the new rows are added.
        number_of_data: total number of observations.
        epochs: total number of passes over the data.
        batch_size: number of observations in a minibatch.
        shuffled: function of the number of an epoch, counted from 0; it returns the minibatches of the epoch as indices
            of observations.
        anneal: function called before each step with the progress of training, from 0 to 1; it may set values, and
            returns the annealed values by name.
        monitor: function called at the start and after each epoch; it returns metrics for the history, among them
            ``mean_rate`` for the progress bar.
        save: function called after every epoch.
        progress: whether to show a progress bar.

    Raises:
        NonFiniteLossError: if the loss or its gradient is not finite.
    """
    steps_per_epoch = math.ceil(number_of_data / batch_size)
    steps = epochs * steps_per_epoch
    before = len(history) * steps_per_epoch
    with progress_bar(total=steps, initial=before, desc="training", unit="step", delay=0, shown=progress) as bar:
        mean_rate, shown = monitor()["mean_rate"], -math.inf
        for epoch in range(len(history), epochs):
            started = time.perf_counter()
            total = 0.0
            for number, batch in enumerate(shuffled(epoch), start=1):
                done = epoch * steps_per_epoch + number - 1
                annealed = anneal(done / steps)
                loss, norm, learning_rate = step(done, batch, annealed)
                if not (math.isfinite(loss) and math.isfinite(norm)):
                    raise NonFiniteLossError(done + 1, epoch + 1, loss, norm)

                total += loss * len(batch)
                seconds = (time.perf_counter() - started) / number
                # The text is made only if it will be shown; fast steps would spend a part of their time on it.
                if not bar.disable and (number == steps_per_epoch or time.perf_counter() - shown > bar.mininterval):
                    shown = time.perf_counter()
                    bar.set_postfix_str(
                        f"epoch={epoch + 1}/{epochs}, elbo={-loss:.2f}, rate={mean_rate:.3f}, "
                        f"step={1000 * seconds:.1f}ms",
                        refresh=False,
                    )
                bar.update()

            metrics = monitor()
            mean_rate = metrics["mean_rate"]
            history.append(
                {
                    "epoch": epoch + 1,
                    "step": done + 1,
                    "elbo": -total / number_of_data,
                    **annealed,
                    "learning_rate": learning_rate,
                    "gradient_norm": norm,
                    "step_ms": 1000 * seconds,
                    **metrics,
                }
            )
            save()
