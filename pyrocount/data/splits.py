"""Splits of observations into those for training and those that are held out."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyrocount.errors import InputError

Rows = NDArray[np.int64]

# Number of blocks of consecutive observations, of which some are held out.
BLOCKS = 20
# Marks of held-out observations and of those for training in a file.
HELD_OUT, KEPT = ("1", "1.0", "true", "test"), ("0", "0.0", "false", "train")


def random_rows(number: int, fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Returns the numbers of the observations for training and of random held-out ones; at least one of each.

    Args:
        number: number of observations.
        fraction: fraction that is held out.
        seed: seed of the choice.
    """
    order = np.random.default_rng(seed).permutation(number)
    held_out = min(max(1, round(fraction * number)), number - 1)
    return order[held_out:], order[:held_out]


def group_rows(groups: NDArray[Any], fraction: float, seed: int, argument: str) -> tuple[Rows, Rows]:
    """Returns the same where whole groups are held out, as many as come nearest to the fraction of the groups.

    Args:
        groups: group of each observation, shape (N,).
        fraction: fraction of the groups that is held out.
        seed: seed of the choice.
        argument: name of the groups in errors.

    Raises:
        InputError: naming the argument, if all observations are of one group.
    """
    _, member = np.unique(groups, return_inverse=True)
    if (number := int(member.max()) + 1) < 2:
        raise InputError(argument, "one group of all observations", "at least two groups, of which one is held out")
    _, held_out = random_rows(number, fraction, seed)
    marked = np.isin(member, held_out)
    return np.flatnonzero(~marked), np.flatnonzero(marked)


def block_rows(number: int, fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Returns the same where random ones of twenty blocks of consecutive observations are held out.

    Neighbouring bins are alike, so that held-out bins between bins for training are predicted too well.
    """
    blocks = np.arange(number) * min(BLOCKS, number) // number
    return group_rows(blocks, fraction, seed, "split")


def marked_rows(path: str | Path, number: int) -> tuple[Rows, Rows]:
    """Returns the same as a file marks them.

    Args:
        path: path of a ``.npy`` file with one mark for each observation, or of a ``.csv`` file with one a line: 1, true
            or test for those held out, 0, false or train for the others.
        number: number of observations.

    Raises:
        InputError: naming ``split``, if the file cannot be read, or has other marks or another number of them.
    """
    path = Path(path)
    try:
        marks = np.load(path, allow_pickle=False) if path.suffix == ".npy" else np.array(path.read_text().split())
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise InputError("split", f"{path}, which cannot be read", "random, block, or a .npy or .csv file") from error
    marks = np.char.lower(np.asarray(marks).ravel().astype(str))
    if len(marks) != number:
        raise InputError("split", f"{path} with {len(marks)} marks", f"one for each of {number} observations")
    if len(unknown := np.setdiff1d(marks, [*HELD_OUT, *KEPT])):
        raise InputError("split", f"{path} with the mark {unknown[0]}", "1 or test, and 0 or train")
    held_out = np.isin(marks, HELD_OUT)
    if held_out.all() or not held_out.any():
        raise InputError("split", f"{path} with {held_out.sum()} of {number} observations held out", "some of each")
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)
