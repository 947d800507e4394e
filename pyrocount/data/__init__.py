"""Data sets as arrays: named ones, files of the user's, patches of images, seeded splits."""

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
