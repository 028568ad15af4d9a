"""A process for each device of this machine, which takes one shard after the other."""

import collections
import contextlib
import itertools
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from conan_assets.compute import ATTEMPTS, Kept, Result, Shard, Task, WorkerDiedError
from conan_assets.compute.worker import begin, compute
from conan_assets.progress import logger

SHARDS_PER_PROCESS = 16
"""Fewer are done before a process of its own has loaded what it computes with."""
SHARDS_AHEAD = 2
"""Shards that wait for each process, so that none waits for its next one."""

VISIBLE = "CUDA_VISIBLE_DEVICES"


class Devices:
    """Spreads shards over processes that see one GPU each; without GPUs they share the cores.

    A process that dies, killed or out of memory, costs the shards that were under way: others compute them again.

    Parameters
    ----------
    processes
        How many; None for one for each GPU that gets :data:`SHARDS_PER_PROCESS` or more to do, and for none but the
        asking process where that is at most one.
    """

    def __init__(self, processes: int | None = None) -> None:
        self._processes = processes

    def map(self, work: Callable[[Shard], Result], shards: Sequence[Shard]) -> Iterator[Result]:
        """Yield the result of every shard, in their order.

        Raises
        ------
        WorkerDiedError
            A process died :data:`ATTEMPTS` times before the same shard was finished.
        """
        enough_for = len(shards) // SHARDS_PER_PROCESS
        wanted = self._processes or (min(enough_for, _gpus()) if enough_for > 1 else 1)
        count = min(len(shards), wanted)
        return self._spread(work, shards, count) if count > 1 else map(work, shards)

    def keep(
        self, make: Callable[[Shard], Callable[[Task], Result]], shards: Sequence[Shard]
    ) -> Kept[Task, Result] | None:
        """Return None: the process that asks has all that this machine has."""
        return None

    def _spread(self, work: Callable[[Shard], Result], shards: Sequence[Shard], count: int) -> Iterator[Result]:
        done = deaths = 0
        while done < len(shards):
            try:
                with _workers(count, work) as pool:
                    left = map(shards.__getitem__, range(done, len(shards)))
                    for result in _in_order(pool, left, SHARDS_AHEAD * count):
                        yield result
                        done, deaths = done + 1, 0
            except BrokenProcessPool as error:
                deaths += 1
                _refuse_too_many(deaths, done, len(shards), error)


def _refuse_too_many(deaths: int, done: int, shards: int, error: BrokenProcessPool) -> None:
    if deaths == ATTEMPTS:
        raise WorkerDiedError(
            f"a process that computed died {ATTEMPTS} times at shard {done + 1} of {shards}: probably out of memory "
            "(`dmesg` tells); give compute.processes fewer, or 1; what is finished is kept"
        ) from error
    logger.warning("a process that computed died; shards %s and after are computed by new ones", f"{done + 1:,}")


def _in_order(pool: ProcessPoolExecutor, waiting: Iterator[Any], ahead: int) -> Iterator[Any]:
    running = collections.deque(pool.submit(compute, shard) for shard in itertools.islice(waiting, ahead))
    while running:
        result = running.popleft().result()
        running.extend(pool.submit(compute, shard) for shard in itertools.islice(waiting, 1))
        yield result


@contextlib.contextmanager
def _workers(count: int, work: Callable[[Any], Any]) -> Iterator[ProcessPoolExecutor]:
    """Start processes that end with the block, and with this process however it ends."""
    context = get_context("spawn")
    end, ours = context.Pipe(duplex=False)
    devices = context.SimpleQueue()
    for number in range(count):
        devices.put(_device(number))
    threads = max(1, (os.cpu_count() or 1) // count)
    pool = ProcessPoolExecutor(count, context, begin, (end, devices, threads, pickle.dumps(work)))
    try:
        yield pool
    finally:
        ours.close()
        pool.shutdown(cancel_futures=True)


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _device(number: int) -> str | None:
    """Return what makes a process see one GPU of those that this one sees, None where there is none."""
    gpus = _gpus()
    if not gpus:
        return None
    visible = os.environ.get(VISIBLE)
    names = visible.split(",") if visible else [str(gpu) for gpu in range(gpus)]
    return names[number % gpus]
