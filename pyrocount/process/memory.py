"""What the process does with memory that it has freed."""

import ctypes
import os

# Parameters of glibc's mallopt, by malloc.h, and their values in bytes.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT, SYSTEM_FROM = 2**28, 2**25


def keep_freed() -> None:
    """Makes glibc keep up to 256 MiB of freed memory for what comes next, in parts of less than 32 MiB.

    By default it returns them to the system, and a training step, which takes and frees the same memory again and
    again, spends up to a tenth of its time on new pages. Nothing changes with another C library, or where a variable of
    the environment (``MALLOC_``) says otherwise.
    """
    if os.name != "posix" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(M_TRIM_THRESHOLD, KEPT)
        mallopt(M_MMAP_THRESHOLD, SYSTEM_FROM)
