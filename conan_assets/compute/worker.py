"""What runs in a process that computes shards for another."""

import os
import pickle
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.queues import SimpleQueue

_work: list[Callable[[object], object]] = []


def begin(end: Connection, devices: "SimpleQueue[str | None]", threads: int, work: bytes) -> None:
    """Take up a pickled work, a device and so many threads; end as soon as nobody holds the other end of ``end``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(end,), daemon=True).start()
    if (device := devices.get()) is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    os.environ.setdefault("POLARS_MAX_THREADS", str(threads))  # read at polars' import, which unpickling may be
    import torch

    torch.set_num_threads(threads)
    _work.append(pickle.loads(work))


def compute(shard: object) -> object:
    """Return the result of the work for a shard."""
    return _work[0](shard)


def _end_with(end: Connection) -> None:
    end.poll(None)
    os._exit(0)
