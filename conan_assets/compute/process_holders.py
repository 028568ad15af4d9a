"""Processes of this machine that keep shards."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from conan_assets.compute.holders import HolderDiedError, Merge
from conan_assets.compute.process import Process
from conan_assets.compute.this_machine import Deaths, cores_of_each
from conan_assets.compute.worker import ask, keep


class ProcessHolders:
    """So many processes, sharing the cores, that hold so many shards."""

    def __init__(self, count: int, make: Callable[[Any], Any], shards: int) -> None:
        self._count, self._make = count, make
        self._processes: dict[int, Process] = {}
        self._deaths = Deaths(shards)

    def ready(self) -> Sequence[Process]:
        """Return the processes, after starting those that there are not."""
        for number in range(self._count):
            if number not in self._processes:
                self._processes[number] = Process(number, self._make, threads=1)
        return list(self._processes.values())

    def keep(self, process: Process, number: int, shard: object) -> Callable[[], None]:
        """Send a shard."""
        return process.begin(keep, number, shard)

    def ask(self, held: Mapping[Process, list[int]], task: object, merge: Merge) -> list[Callable[[], Any]]:
        """Send a task; a thread for each core of a process asks the shards there."""
        threads = cores_of_each(self._count)
        return [process.begin(ask, numbers, task, merge, threads) for process, numbers in held.items()]

    def bury(self, process: Process, number: int, error: HolderDiedError) -> None:
        """Let a new process take the place of one that died at a shard."""
        del self._processes[process.number]
        self._deaths.count(number, error)
