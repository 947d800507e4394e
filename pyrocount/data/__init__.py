"""Data sets as arrays: named ones, files of the user's, seeded splits."""

from .dataset import Dataset, load_dataset
from .files import read_array

__all__ = ["Dataset", "load_dataset", "read_array"]
