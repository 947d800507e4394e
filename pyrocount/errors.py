"""The error for what a caller can put right."""

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Bad input; the message is one line that names the argument, its value and what is expected.

    Attributes:
        argument: its Python name.
        problem: the value and what is expected.

    >>> raise InputError("latent_dim", 0, "a positive whole number")
    Traceback (most recent call last):
    pyrocount.errors.InputError: latent_dim: got 0, expected a positive whole number
    """

    def __init__(self, argument: str, value: object, expected: str) -> None:
        self.argument = argument
        self.problem = f"got {value}, expected {expected}"
        super().__init__(f"{argument}: {self.problem}")


@contextmanager
def needing(extra: str, argument: str, value: object) -> Iterator[None]:
    """Imports within need an extra of the package.

    Args:
        extra: its name.
        argument: what asks for it.
        value: of the argument.

    Raises:
        InputError: naming the argument, if a module of the extra is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "pyrocount":
            raise
        expected = f'an installation with it: pip install "pyrocount[{extra}]"'
        raise InputError(argument, f"{value}, which needs {error.name}", expected) from error
