"""Progress bars."""

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress_bar(work: Iterable[Any] | None = None, *, shown: bool = True, **options: Any) -> "tqdm[Any]":
    """A bar on standard error; where nobody watches, in a log file, a line every ten seconds is enough.

    Args:
        work: what it goes through, if it is not updated by hand.
        shown: whether to show it; ``TQDM_DISABLE`` in the environment hides all of them.
        options: of tqdm.
    """
    watched = sys.stderr.isatty()
    slow = {} if watched else {"mininterval": 10.0, "delay": 10.0}
    hidden = {} if shown else {"disable": True}
    return tqdm(work, dynamic_ncols=True, **{"mininterval": 0.2} | slow | hidden | options)
