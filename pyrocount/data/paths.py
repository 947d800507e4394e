"""Paths that users give, and files that cannot be read."""

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


def unreadable(argument: str, path: str | Path, error: Exception, expected: str) -> InputError:
    """Returns the error of a file that cannot be read, with the first line of the reason."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(argument, f"{path}, which cannot be read ({reason})", expected)
