"""Data sets as arrays: named sets, the user's files, patches of images, and seeded splits."""

from .dataset import NAMED, SCALINGS, Dataset, default_scaling, from_array, load_dataset
from .files import read_array, user_path
from .patches import normalise_contrast, whiten

__all__ = [
    "NAMED",
    "SCALINGS",
    "Dataset",
    "default_scaling",
    "from_array",
    "load_dataset",
    "normalise_contrast",
    "read_array",
    "user_path",
    "whiten",
]
