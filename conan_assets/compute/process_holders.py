"""Processes of this machine that keep shards."""

import pickle
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from conan_assets.compute.holders import HolderDiedError, Merge
from conan_assets.compute.this_machine import Deaths, cores_of_each, device
from conan_assets.compute.worker import ask, keep, serve


class Process:
    """The process of that number, which keeps shards as what ``make`` makes of them and ends with this object.

    It alone holds the other end of the connection, so that its death is noticed at once, in the midst of an answer too.
    (An executor's queue has both ends in the asking process, which would wait for the rest.)
    """

    def __init__(self, number: int, make: Callable[[Any], Any]) -> None:
        context = get_context("spawn")
        self.number = number
        self._connection, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, device(number), pickle.dumps(make)), daemon=True)
        process.start()
        theirs.close()
        self._caller = ThreadPoolExecutor(1)
        weakref.finalize(self, _end, process, self._caller).atexit = False

    def begin(self, function: Callable[..., Any], *arguments: object) -> Callable[[], Any]:
        """Have the process call a function, after all that it was told before; return what waits for the result."""
        return self._caller.submit(_call, self._connection, function, arguments).result


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
                self._processes[number] = Process(number, self._make)
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


def _call(connection: Connection, function: Callable[..., Any], arguments: tuple[object, ...]) -> Any:  # noqa: ANN401
    try:
        connection.send((function, arguments))
        result, error = connection.recv()
    except (EOFError, OSError) as broken:
        raise HolderDiedError(str(broken)) from broken
    if error:
        raise error
    return result


def _end(process: SpawnProcess, caller: ThreadPoolExecutor) -> None:
    process.kill()
    process.join()
    caller.shutdown(wait=False, cancel_futures=True)
