"""The host's memory: what is free, and what the C library keeps after tensors and arrays of many sizes were freed."""

import contextlib
import ctypes
import gc
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil

M_MMAP_THRESHOLD = -3
LARGE_BYTES = 2 << 20
USUAL_BYTES = 32 << 20
"""What glibc lets the threshold rise to by itself as large arrays are freed."""
CGROUP = Path("/sys/fs/cgroup")


def free_bytes_of_host() -> int:
    """Return the memory that nobody uses, within the limit of this process's group."""
    available: int = psutil.virtual_memory().available
    try:
        limit, used = ((CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return min(available, int(limit) - int(used))
    except (OSError, ValueError):
        return available


def return_freed_memory() -> None:
    """Give freed memory back to the system; does nothing where the C library is not glibc."""
    _collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def _collect() -> None:
    """Collect in another thread: Ctrl-C is raised in this one, and what a collection's callbacks raise is swallowed."""
    collection = threading.Thread(target=gc.collect, name="collection")
    collection.start()
    collection.join()


@contextlib.contextmanager
def large_arrays_given_back() -> Iterator[None]:
    """Give arrays above 2 MiB back to the system when they are freed; does nothing where the C library is not glibc.

    Work in parts takes and frees such arrays over and over: in glibc's heap they leave holes that the next ones do not
    fit into, and memory grows with the parts. Not for models: their tensors would be taken from the system each time.
    """
    try:
        _set_mmap_threshold(LARGE_BYTES)
        yield
    finally:
        _set_mmap_threshold(USUAL_BYTES)


def _set_mmap_threshold(size: int) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").mallopt(M_MMAP_THRESHOLD, size)
