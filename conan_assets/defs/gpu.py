"""One stage on the GPU at a time: a place there is the lock of a file, which ends with its process in any case."""

import contextlib
import fcntl
import functools
import inspect
import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, ParamSpec, TypeVar, cast

from conan_assets.defs.storage import Storage

SECONDS_BETWEEN_LOOKS = 0.5

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger("conan_assets")


def on_the_gpu(body: Callable[P, R]) -> Callable[P, R]:
    """Return an asset's or a check's function, a generator or not, that holds a place on the GPU while it computes."""

    def place(*args: object, **kwargs: object) -> contextlib.AbstractContextManager[None]:
        (storage,) = (value for value in (*args, *kwargs.values()) if isinstance(value, Storage))
        return place_on_the_gpu(storage.root / "locks", storage.stages_on_gpu, body.__name__)

    @functools.wraps(body)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with place(*args, **kwargs):
            return body(*args, **kwargs)

    @functools.wraps(body)
    def generate(*args: P.args, **kwargs: P.kwargs) -> Iterator[object]:
        with place(*args, **kwargs):
            yield from cast(Iterable[object], body(*args, **kwargs))

    return cast(Callable[P, R], generate) if inspect.isgeneratorfunction(body) else call


def unlimited(body: Callable[P, R]) -> Callable[P, R]:
    """Return an asset's function as it is: it computes nothing on the GPU."""
    return body


@contextlib.contextmanager
def place_on_the_gpu(folder: Path, places: int, what: str) -> Iterator[None]:
    """Hold one of so many places on this machine's GPU; wait for one, and say for what, where all are taken.

    Parameters
    ----------
    folder
        Where the places' files lie; each tells who holds it.
    what
        What computes, told to those that wait.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        files = [folder / f"gpu_{number}@{socket.gethostname()}" for number in range(places)]
        opened = [stack.enter_context(file.open("a+")) for file in files]
        held = _take_one(opened) or _wait_for_one(opened, what)
        held.truncate(0)
        held.write(f"{what} in process {os.getpid()}")
        held.flush()
        yield


def _take_one(places: Sequence[IO[str]]) -> IO[str] | None:
    for place in places:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return place
    return None


def _wait_for_one(places: Sequence[IO[str]], what: str) -> IO[str]:
    holders = " and ".join(Path(place.name).read_text(encoding="utf-8") for place in places)
    logger.warning("%s waits for the GPU until %s has ended; `kill` with that number ends it at once", what, holders)
    while (place := _take_one(places)) is None:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return place
