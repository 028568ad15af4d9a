"""A process of this machine that does what this one tells it."""

import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from conan_assets.compute.holders import HolderDiedError
from conan_assets.compute.this_machine import device
from conan_assets.compute.worker import serve


class Process:
    """The process of that number, on a device of its own and with so many threads, which ends with this object.

    It alone holds the other end of the connection, so that its death is noticed at once, in the midst of an answer too.
    (An executor's queue has both ends in the asking process, which would wait for the rest.)

    Attributes
    ----------
    end
        Kills it.
    """

    def __init__(self, number: int, work: Callable[[Any], Any], threads: int) -> None:
        context = get_context("spawn")
        self.number = number
        self._connection, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, device(number), threads), daemon=True)
        process.start()
        theirs.close()
        self._caller = ThreadPoolExecutor(1)
        self._has_work = self._caller.submit(self._connection.send, work)
        self.end = weakref.finalize(self, _end, process, self._caller)
        self.end.atexit = False

    def begin(self, function: Callable[..., Any], *arguments: object) -> Callable[[], Any]:
        """Have the process call a function, after all that it was told before; return what waits for the result.

        That raises HolderDiedError if the process is dead, or dies of it.
        """
        return self._caller.submit(_call, self._connection, self._has_work, function, arguments).result


def _call(
    connection: Connection, has_work: Future[None], function: Callable[..., Any], arguments: tuple[object, ...]
) -> Any:  # noqa: ANN401
    try:
        has_work.result()
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
