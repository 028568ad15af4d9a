"""A process for each device of this machine: each takes one shard after the other, or holds its part of them."""

import collections
import contextlib
import itertools
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from multiprocessing.reduction import ForkingPickler
from typing import Any

from conan_assets.compute import Kept, Result, Shard, Task
from conan_assets.compute.holders import SHARDS_AHEAD, HeldShards, HolderDiedError
from conan_assets.compute.process import Process
from conan_assets.compute.process_holders import ProcessHolders
from conan_assets.compute.this_machine import Deaths, cores_of_each, gpus
from conan_assets.compute.worker import compute
from conan_assets.memory import free_bytes_of_host
from conan_assets.progress import logger

SHARDS_PER_PROCESS = 16
"""Fewer are done before a process of its own has loaded what it computes with."""
SHARDS_PER_HOLDER = 8
"""Fewer, of 65,536 documents each, are searched before a process has loaded torch and what it holds.

That takes 5 to 7 s, measured with two processes on two cores. A GPU at 2 % of an H100's data sheet, which docs/scale.md
assumes of exact search, multiplies 8 shards of 1,024 components by 100,000 queries in 5.4 s. Where there are fewer
queries, those seconds are all that is lost.
"""


class Devices:
    """Spreads shards over processes that see one GPU each; without GPUs they share the cores.

    A process that dies, killed or out of memory, costs the shard that it was at: another computes it again.

    Parameters
    ----------
    processes
        How many compute, and how many keep shards at most; None for one for each GPU that gets
        :data:`SHARDS_PER_PROCESS` or more to do, and for none but the asking process where that is at most one.
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
        wanted = self._processes or (min(enough_for, gpus()) if enough_for > 1 else 1)
        count = min(len(shards), wanted)
        return self._spread(work, shards, count) if count > 1 else map(work, shards)

    def keep(
        self, make: Callable[[Shard], Callable[[Task], Result]], shards: Sequence[Shard]
    ) -> Kept[Task, Result] | None:
        """Have processes keep shards, each at least :data:`SHARDS_PER_HOLDER`.

        None where that takes no two of them, or more than half of the memory that is free.

        They are started when the shards are first asked, and end when nobody holds what is returned. A new one takes
        the place of one that dies; asking raises WorkerDiedError when :data:`ATTEMPTS` died at the same shard.
        """
        count = len(shards) // SHARDS_PER_HOLDER
        if count > 1:
            count = min(count, self._processes or gpus())
        if count > 1 and _fit_in_memory(shards):
            return HeldShards(ProcessHolders(count, make, len(shards)), shards)
        return None

    def _spread(self, work: Callable[[Shard], Result], shards: Sequence[Shard], count: int) -> Iterator[Result]:
        deaths, waiting = Deaths(len(shards)), iter(range(len(shards)))
        with _processes(count, work) as compute_shard:

            def begin(number: int) -> tuple[int, Future[Result]]:
                return number, compute_shard(shards[number])

            running = collections.deque(map(begin, itertools.islice(waiting, SHARDS_AHEAD * count)))
            while running:
                number, computed = running.popleft()
                try:
                    result = computed.result()
                except HolderDiedError as error:
                    deaths.count(number, error)
                    running.appendleft(begin(number))
                else:
                    running.extend(map(begin, itertools.islice(waiting, 1)))
                    yield result


def _fit_in_memory(shards: Sequence[Any]) -> bool:
    """Say, and log if not, whether half of the free memory has room for all shards, each as large as the first."""
    size, free = ForkingPickler.dumps(shards[0]).nbytes * len(shards), free_bytes_of_host()
    if 2 * size > free:
        told = "what several processes could search takes %.1f GiB, and %.1f are free: one searches it from disk"
        logger.info(told, size / 2**30, free / 2**30)
    return 2 * size <= free


@contextlib.contextmanager
def _processes(count: int, work: Callable[[Any], Any]) -> Iterator[Callable[[Any], Future[Any]]]:
    """Start processes that end with the block; yield what has the first that is free compute a shard.

    A new one takes the place of one that died.
    """
    start = partial(Process, work=work, threads=cores_of_each(count))
    processes = {number: start(number) for number in range(count)}
    threads, free = ThreadPoolExecutor(count), queue.SimpleQueue[int]()
    for number in processes:
        free.put(number)

    def compute_shard(shard: object) -> object:
        number = free.get()
        try:
            if number not in processes:
                processes[number] = start(number)
            return processes[number].begin(compute, shard)()
        except HolderDiedError:
            del processes[number]
            raise
        finally:
            free.put(number)

    try:
        yield lambda shard: threads.submit(compute_shard, shard)
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for process in [*processes.values()]:
            process.end()
