"""Paths that users give."""

from pathlib import Path

from pyrocount.errors import InputError


def user_path(path: str | Path, argument: str = "data") -> Path:
    """Returns the path with the user's home folder in place of ~.

    Raises:
        InputError: if the path names the home folder of a user who does not exist.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(argument, path, "a home folder that exists") from error
