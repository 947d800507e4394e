"""A finished run, as Python sees it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pyrocount.command_line import read_config
from pyrocount.config import Config
from pyrocount.data import Dataset
from pyrocount.fit import load as load_model
from pyrocount.fit import load_data
from pyrocount.models import VAE
from pyrocount.run import RunFolder

if TYPE_CHECKING:
    from pyrocount.iterative import Iterative


@dataclass(frozen=True)
class Fitted:
    """What a run folder holds.

    Attributes:
        path: the folder.
        model: a VAE on the CPU and in evaluation mode, or an iterative model; it takes data in the units of training.
        config: every option, resolved.
        history: a row an epoch, as in ``metrics.csv``.
        figures: of held-out data, as in ``summary.json``; NaN where they are not finite.
    """

    path: Path
    model: "VAE | Iterative"
    config: Config
    history: list[dict[str, float]]
    figures: dict[str, float]

    @property
    def model_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        shape: tuple[int, ...] = (self.model if isinstance(self.model, VAE) else self.model.model).shape
        return shape

    def data(self) -> Dataset:
        """The data that the run was trained and tested with.

        Raises:
            InputError: if they are no longer there.
        """
        return load_data(self.config)


def load(path: str | Path) -> Fitted:
    """Loads a run folder of ``python -m pyrocount.fit``.

    Raises:
        InputError: naming ``path`` or ``name``, if the folder holds no finished run, or one of another version.
    """
    run = RunFolder(path)
    model = load_model(path)
    figures = {name: float("nan") if value is None else value for name, value in run.read_json("summary.json").items()}
    return Fitted(run.path, model, read_config(run).resolved(), run.read_metrics(), figures)
