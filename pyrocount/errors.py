"""The error for what a caller can put right."""


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
