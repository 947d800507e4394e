"""Search: fits whose options a sampler chooses from ranges, of which the worse ones are stopped early.

Optuna chooses and decides (Akiba et al., Optuna: A Next-generation Hyperparameter Optimization Framework, KDD 2019), by
its tree-structured Parzen estimator and asynchronous successive halving (Li et al., A System for Massively Parallel
Hyperparameter Tuning, MLSys 2020). All processes share its journal, a file beside the runs.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyrocount.config import Config, beside
from pyrocount.errors import InputError, require_extra
from pyrocount.inference.options import TrainingOptions
from pyrocount.options import Option
from pyrocount.run import Run
from pyrocount.training import FOLLOWED

from .grid import OWN, Task, plain_name, split_text, value_of
from .study import open_study
from .task import Outcome


@dataclass(frozen=True)
class Range:
    """Values of an option from which a search chooses: those of a list, or numbers between two bounds.

    Attributes:
        option: the option.
        values: list of the values; empty for numbers between bounds.
        low: lower bound.
        high: upper bound.
        log: whether the logarithm is uniform.
    """

    option: Option
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False

    @property
    def ends(self) -> tuple[Any, ...]:
        """Returns values that stand for all: those of the list, or the bounds."""
        return self.values or (self.option.kind(self.low), self.option.kind(self.high))

    def distribution(self) -> Any:
        """Returns the distribution in Optuna."""
        from optuna import distributions

        if self.values:
            return distributions.CategoricalDistribution(self.values)
        if self.option.kind is int:
            return distributions.IntDistribution(int(self.low), int(self.high), log=self.log)
        return distributions.FloatDistribution(self.low, self.high, log=self.log)


def ranges(texts: Sequence[str]) -> list[Range]:
    """Reads ranges: ``name=value,value``, ``name=low:high`` or ``name=log:low:high``.

    Raises:
        InputError: naming ``--grid``, for a text that is no such thing.

    >>> [(each.option.name, each.low, each.high, each.log) for each in ranges(["lr=log:1e-4:1e-2"])]
    [('lr', 0.0001, 0.01, True)]
    """
    if not texts:
        raise InputError("--grid", "nothing", "ranges of options from which --search chooses")
    found: dict[str, Range] = {}
    for text in texts:
        option, listed = split_text(text, found)
        if ":" not in listed or option.kind not in (int, float):
            values = tuple(value_of(option, part.strip(), "--grid") for part in listed.split(","))
            found[option.name] = Range(option, values)
            continue
        log = listed.startswith("log:")
        bounds = listed.removeprefix("log:").split(":")
        if len(bounds) != 2:
            raise InputError("--grid", repr(text), "OPTION=LOW:HIGH, OPTION=log:LOW:HIGH or OPTION=VALUE,VALUE")
        low, high = (value_of(option, part.strip(), "--grid") for part in bounds)
        if not low < high or not math.isfinite(low) or not math.isfinite(high) or (log and low <= 0):
            raise InputError("--grid", repr(text), f"bounds that rise{', from above 0' if log else ''}")
        found[option.name] = Range(option, (), low, high, log)
    return list(found.values())


class Search:
    """Search in a folder, which goes on where the same search in this folder ended.

    Args:
        chosen: ranges of the options.
        number: number of fits in all.
        metric: metric of held-out data by which fits are compared and stopped.
        fixed: options of all fits, by name.
        out: folder that holds the runs.
        usual: options of a recipe, over which all others win.

    Raises:
        InputError: naming the option, or ``--search``, if Optuna is not installed.
    """

    def __init__(
        self,
        chosen: Sequence[Range],
        number: int,
        metric: str,
        fixed: Mapping[str, Any],
        out: str,
        usual: Mapping[str, Any] | None = None,
    ) -> None:
        self.ranges, self.number, self.metric, self.fixed, self.out = chosen, number, metric, dict(fixed), out
        self.usual = usual or {}
        with require_extra("search", "--search", number):
            import optuna
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        if number < 1:
            raise InputError("--search", number, "a positive whole number")
        if metric not in FOLLOWED:
            raise InputError("--metric", metric, f"one that is followed during training: {', '.join(FOLLOWED)}")
        self._check_ranges()
        Path(out).mkdir(parents=True, exist_ok=True)
        self.study = open_study(out, self.epochs, metric, self.fixed.get("seed", 0))
        own = json.loads(json.dumps(self._identity()))
        known = self.study.user_attrs.get("search", own)
        if known != own:
            differing = sorted(name for name in own if own[name] != known[name])
            problem = f"{out}, which holds a search with other {' and '.join(differing)}"
            raise InputError("out", problem, "the folder of this search, or a new one")
        self.study.set_user_attr("search", own)

    def _identity(self) -> dict[str, Any]:
        """Returns what makes two searches one and the same."""
        first = {each.option.name: each.ends[0] for each in self.ranges}
        options = self._config(first).identity()
        return {
            "ranges": {each.option.name: repr(each.distribution()) for each in self.ranges},
            "metric": self.metric,
            "options": {name: value for name, value in options.items() if name not in first},
        }

    @property
    def epochs(self) -> int:
        """Returns the number of epochs of a fit."""
        return self._config({each.option.name: each.ends[0] for each in self.ranges})[TrainingOptions].epochs

    def _config(self, options: Mapping[str, Any]) -> Config:
        return Config(**self._options(options))

    def _options(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        return {**beside(self.usual, {**self.fixed, **chosen}), "out": self.out}

    def _check_ranges(self) -> None:
        """Checks the bounds of each range, before anything is fitted.

        Raises:
            InputError: naming the option.
        """
        for each in self.ranges:
            name = each.option.name
            if name in self.fixed or name in OWN or name == "epochs":
                problem = f"{name}, which {'is fixed too' if name in self.fixed else 'fits of a search share'}"
                raise InputError("--grid", problem, "an option that nothing else sets")
        first = {each.option.name: each.ends[0] for each in self.ranges}
        for each in self.ranges:
            for value in each.ends:
                self._config(first | {each.option.name: value})

    def tasks(self) -> Iterator[Task]:
        """Yields the fits that are left, each chosen as it is asked for: first those that were interrupted."""
        from optuna.trial import TrialState

        trials = self.study.get_trials(deepcopy=False)
        for trial in trials:
            if trial.state == TrialState.RUNNING:
                yield self._task(trial.number, trial.params)
        for _ in range(self.number - len(trials)):
            trial = self.study.ask({each.option.name: each.distribution() for each in self.ranges})
            yield self._task(trial.number, trial.params)

    @property
    def left(self) -> int:
        """Returns the number of fits that are left."""
        from optuna.trial import TrialState

        states = [trial.state for trial in self.study.get_trials(deepcopy=False)]
        return max(0, self.number - len(states)) + states.count(TrialState.RUNNING)

    def _task(self, trial: int, params: Mapping[str, Any]) -> Task:
        listed = [
            f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}" for name, value in params.items()
        ]
        return Task(plain_name("-".join([f"trial={trial:04d}", *listed])), self._options(params), trial)

    def tell(self, outcome: Outcome) -> None:
        """Takes the result of a fit."""
        from optuna.trial import TrialState

        assert outcome.trial is not None
        if outcome.stopped is not None:
            self.study.tell(outcome.trial, state=TrialState.PRUNED)
        elif outcome.problem is not None:
            self.study.tell(outcome.trial, state=TrialState.FAIL)
        else:
            self.study.tell(outcome.trial, Run(Path(self.out) / outcome.name).metrics[self.metric])

    def summary(self) -> str:
        """Returns how many fits ended how, and the options of the best, as text."""
        from optuna.trial import TrialState

        trials = self.study.get_trials(deepcopy=False)
        counts = {state: sum(trial.state == state for trial in trials) for state in TrialState}
        lines = [
            f"{counts[TrialState.COMPLETE]} fits to the end, {counts[TrialState.PRUNED]} stopped early, "
            f"{counts[TrialState.FAIL]} failed"
        ]
        if counts[TrialState.COMPLETE]:
            best = self.study.best_trial
            options = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in best.params.items())
            lines.append(f"best {self.metric} {best.value:.5g}: {options}")
        return "\n".join(lines)
