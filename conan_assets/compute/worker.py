"""What runs in a process that computes or keeps shards for another."""

import contextlib
import os
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from typing import Any

from conan_assets.compute.holders import Merge, ask_each

Work = Callable[[Any], Any]

_work: list[Work] = []
_kept: dict[int, Work] = {}


def compute(shard: object) -> object:
    """Return the result of the work for a shard."""
    return _work[0](shard)


def serve(connection: Connection, device: str | None, threads: int) -> None:
    """Take up a device, threads and the work that comes first; call what comes then, and end with who sends it."""
    _take_up(device, threads)
    with contextlib.suppress(EOFError):
        _work.append(connection.recv())
        while True:
            connection.send(_called(*connection.recv()))


def keep(number: int, shard: object) -> None:
    """Keep what the work makes of the shard of that number."""
    _kept[number] = _work[0](shard)


def ask(numbers: list[int], task: object, merge: Merge, threads: int) -> object:
    """Return what the kept shards of those numbers make of a task, merged."""
    return ask_each([_kept[number] for number in numbers], task, merge, threads)


def _take_up(device: str | None, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    os.environ.setdefault("POLARS_MAX_THREADS", str(threads))  # read at polars' import, which unpickling may be
    import torch

    torch.set_num_threads(threads)


def _called(function: Callable[..., Any], arguments: tuple[object, ...]) -> tuple[object, Exception | None]:
    """Return what a function returned, and what it raised, with a note that says where."""
    try:
        return function(*arguments), None
    except Exception as error:
        error.add_note(traceback.format_exc())
        return None, error


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(0)
