"""Memory that the C library keeps for itself after tensors of many sizes were freed."""

import contextlib
import ctypes
import gc
import sys


def return_freed_memory() -> None:
    """Give freed memory back to the system; does nothing where the C library is not glibc."""
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)
