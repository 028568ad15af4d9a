"""What runs in a process that computes shards for another."""

import functools
import os
import pickle
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.queues import SimpleQueue
from pathlib import Path


def begin(end: Connection, devices: "SimpleQueue[str | None]", threads: int) -> None:
    """Take one of the devices and so many threads, and end as soon as nobody holds the other end of ``end``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(end,), daemon=True).start()
    if (device := devices.get()) is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    import torch

    torch.set_num_threads(threads)


def compute(file: Path, shard: object) -> object:
    """Return the result of the work that is pickled in ``file``, which is read once."""
    return _work(file)(shard)


@functools.lru_cache(maxsize=1)
def _work(file: Path) -> Callable[[object], object]:
    work: Callable[[object], object] = pickle.loads(file.read_bytes())
    return work


def _end_with(end: Connection) -> None:
    end.poll(None)
    os._exit(0)
