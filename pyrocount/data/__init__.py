"""Data sets as arrays: named sets, the user's files, patches of images, and seeded splits."""

from .dataset import SCALINGS, Dataset, default_scaling, from_array, load_dataset
from .files import Observations, read_array, read_observations
from .options import NAMED
from .paths import user_path
from .rows import Rows, TensorRows, Units, as_tensor, parts, rows_of_a_part
from .whitening import normalise_contrast, whiten

__all__ = [
    "NAMED",
    "SCALINGS",
    "Dataset",
    "Observations",
    "Rows",
    "TensorRows",
    "Units",
    "as_tensor",
    "default_scaling",
    "from_array",
    "load_dataset",
    "normalise_contrast",
    "parts",
    "read_array",
    "read_observations",
    "rows_of_a_part",
    "user_path",
    "whiten",
]
