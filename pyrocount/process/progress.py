"""Progress bars."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress_bar(work: Iterable[Any] | None = None, *, shown: bool = True, **options: Any) -> "tqdm[Any]":
    """Returns a progress bar on standard error.

    In a terminal, the bar is updated several times a second; elsewhere, as in a log file, a line every ten seconds is
    enough.

    Args:
        work: iterable whose items the bar counts; None if the bar is updated by hand.
        shown: whether to show the bar; ``TQDM_DISABLE`` in the environment hides all bars.
        options: further options of tqdm.
    """
    watched = sys.stderr is not None and sys.stderr.isatty()
    slow = {} if watched else {"mininterval": 10.0, "delay": 10.0}
    hidden = {} if shown and sys.stderr is not None else {"disable": True}
    return tqdm(work, dynamic_ncols=True, **{"mininterval": 0.2} | slow | hidden | options)
