"""Optuna's study of a search, whose journal all processes share, and what follows a fit for it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pyrocount.inference.options import TrainingOptions
from pyrocount.training import StoppedError

from .comparison import less_is_better
from .grid import Task

JOURNAL, STUDY = "search.journal", "search"
# Of the fits that have reached a rung, every third goes on to the next one, which is three times as far.
REDUCTION = 3
# Number of rungs before the last epoch: the first one is at a ninth of the epochs.
RUNGS = 2


def open_study(out: str, epochs: int, metric: str, seed: int) -> Any:
    """Returns the study whose journal is in a folder."""
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(Path(out) / JOURNAL))),
        study_name=STUDY,
        load_if_exists=True,
        direction="minimize" if less_is_better(metric) else "maximize",
        sampler=optuna.samplers.TPESampler(seed=seed, constant_liar=True),
        pruner=optuna.pruners.SuccessiveHalvingPruner(
            min_resource=max(1, epochs // REDUCTION**RUNGS), reduction_factor=REDUCTION
        ),
    )


def follower(task: Task, out: str, metric: str) -> Callable[[Mapping[str, float]], None]:
    """Returns a function that takes each row of a fit's history, and stops a fit that is worse than others.

    Args:
        task: fit of a search.
        out: folder that holds the runs.
        metric: metric by which fits are compared.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    config = task.config
    study = open_study(out, config[TrainingOptions].epochs, metric, config.seed)
    known = next(each for each in study.get_trials(deepcopy=False) if each.number == task.trial)
    trial = optuna.trial.Trial(study, known._trial_id)
    reported = set(known.intermediate_values)

    def follow(row: Mapping[str, float]) -> None:
        epoch = int(row["epoch"])
        if epoch < 1 or epoch in reported:
            return
        trial.report(row[f"test_{metric}"], epoch)
        if epoch < config[TrainingOptions].epochs and trial.should_prune():
            raise StoppedError(epoch)

    return follow
