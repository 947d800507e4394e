"""Finds the fitted models of the zoo."""

from importlib.util import find_spec
from pathlib import Path

from pyrocount.errors import InputError

# Beginning of the path of a model of the zoo, and the package that holds the models.
PREFIX, PACKAGE = "zoo/", "pyrocount_zoo"


def zoo_folder(path: str) -> Path:
    """Returns the folder of a fitted model of the zoo.

    Args:
        path: ``zoo/NAME``.

    Raises:
        InputError: naming ``path``, if there is no such model, or the package with the models is not installed.
    """
    models = {folder.name: folder for place in _places() for folder in place.iterdir() if _is_model(folder)}
    if not models:
        raise InputError("path", path, f"the package {PACKAGE}, which pip install ./zoo installs in a checkout")
    name = path.removeprefix(PREFIX)
    if name not in models:
        raise InputError("path", path, f"{PREFIX} and one of {', '.join(sorted(models))}")
    return models[name]


def _places() -> list[Path]:
    """Returns the folder of the package with the models, installed or in a checkout."""
    spec = find_spec(PACKAGE)
    installed = [] if spec is None else list(map(Path, spec.submodule_search_locations or ()))
    checkout = Path(__file__).parents[2] / "zoo" / PACKAGE
    return installed or ([checkout] if checkout.is_dir() else [])


def _is_model(folder: Path) -> bool:
    return (folder / "model.safetensors").is_file()
