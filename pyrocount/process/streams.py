"""Standard streams of the commands, whose trouble must not cost a result."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class LenientStream:
    """Text stream that passes on what it can, and drops the rest.

    A character that the encoding lacks is written as an escape. After an error, of a reader that is gone or a device
    that is full, or without a stream at all, what is written goes nowhere.

    Args:
        stream: stream to write to; None where the process has none.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes a text; returns its length."""
        try:
            if self._stream is not None:
                self._stream.write(text)
        except UnicodeEncodeError as error:
            assert self._stream is not None
            self._stream.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
        except (OSError, ValueError):  # a closed stream raises ValueError
            self._give_up()
        return len(text)

    def flush(self) -> None:
        """Writes what is still in memory."""
        try:
            if self._stream is not None:
                self._stream.flush()
        except (OSError, ValueError):
            self._give_up()

    def close(self) -> None:
        """Writes what is still in memory; the stream, which may be one of the process, stays open.

        Loggers that were made while a command ran keep this object, and close it when the process ends.
        """
        self.flush()

    def isatty(self) -> bool:
        """Returns whether somebody is likely to watch."""
        return not self.closed and self._stream is not None and self._stream.isatty()

    @property
    def closed(self) -> bool:
        """Returns whether what is written goes nowhere."""
        return self._stream is None or self._stream.closed

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_stream"], name)

    def _give_up(self) -> None:
        """Lets the interpreter's own flush at the end succeed, which would change the exit code."""
        stream, self._stream = self._stream, None
        try:
            assert stream is not None
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
        except (OSError, ValueError):
            pass  # it has no descriptor, or is closed


@contextmanager
def lenient_streams() -> Iterator[None]:
    """Makes standard output and standard error lenient in the block."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = ours = tuple(map(LenientStream, before))
    try:
        yield
    finally:
        for stream in ours:
            stream.flush()
        sys.stdout, sys.stderr = before
