"""One run at a time in a directory: two would write over each other's states and metrics."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

LOCK = ".lock"


class DirectoryInUseError(RuntimeError):
    """Another process trains in the directory; the message names it."""


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory until the body is left, or this process is killed.

    Raises
    ------
    DirectoryInUseError
        Another process holds it.
    """
    with (directory / LOCK).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise DirectoryInUseError(
                f"another run is training in {directory}: wait for it, or end process {file.read()}"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
