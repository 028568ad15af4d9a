"""A Ray cluster whose nodes take one shard after the other.

Works, shards and results travel as Ray's pickles: whoever reaches the cluster runs code on all of its nodes, and on
this one. See docs/ray.md.
"""

import contextlib
import time
import uuid
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from conan_assets.compute import Kept, Result, Shard, Task
from conan_assets.compute.holders import SHARDS_AHEAD, HeldShards
from conan_assets.compute.ray_connection import connect
from conan_assets.compute.ray_failures import Failures
from conan_assets.compute.ray_kept import RayHolders
from conan_assets.compute.ray_pool import Pool, Worker, pool_of_this_driver

if TYPE_CHECKING:
    import ray

WINDOW = 4
"""Shards per worker that may be under way or finished before the first of them is taken: what bounds memory."""
SECONDS_OF_WAITING = 1.0


class RayCluster:
    """Spreads shards over workers on the nodes of a Ray cluster.

    A worker or a node that dies costs the shards that were under way: others compute them again. A node that joins
    takes part.

    Parameters
    ----------
    address
        Host and port of the cluster's head; None for ``$RAY_ADDRESS``.
    cpus_per_worker
        Cores for each worker of a cluster without GPUs; one with GPUs has a worker for each.
    """

    def __init__(self, address: str | None = None, cpus_per_worker: int = 4) -> None:
        self._address = address
        self._cpus = cpus_per_worker

    def map(self, work: Callable[[Shard], Result], shards: Sequence[Shard]) -> Iterator[Result]:
        """Yield the result of every shard, in their order.

        Raises
        ------
        ClusterError
            The cluster cannot be used.
        ShardError
            A shard raised an error, which is the cause.
        WorkerDiedError
            A worker died three times before the same shard was finished.
        """
        if shards:
            with self._workers() as pool:
                yield from _Spread(pool, work, shards).results()

    def keep(
        self, make: Callable[[Shard], Callable[[Task], Result]], shards: Sequence[Shard]
    ) -> Kept[Task, Result] | None:
        """Give out shards to the workers, which keep them as what ``make`` makes of them; errors as of :meth:`map`.

        The shards of a worker that dies are given to others again.
        """
        with contextlib.ExitStack() as stack:
            pool = stack.enter_context(self._workers())
            holders = RayHolders(pool, make, len(shards))
            stack.callback(pool.forget, holders.key)
            kept = HeldShards(holders, shards)
            weakref.finalize(kept, stack.pop_all().close).atexit = False
            return kept

    @contextlib.contextmanager
    def _workers(self) -> Iterator[Pool]:
        connect(self._address)
        pool = pool_of_this_driver(self._cpus)
        with pool.used():
            yield pool


class _Spread:
    """One work over its shards."""

    def __init__(self, pool: Pool, work: Callable[[Any], Any], shards: Sequence[Any]) -> None:
        import ray

        self._pool, self._shards = pool, shards
        self._key, self._work = uuid.uuid4().hex, ray.put(work)
        self._waiting = deque(range(len(shards)))
        self._under_way: dict[ray.ObjectRef[Any], tuple[Worker, int]] = {}
        self._results: dict[int, Any] = {}
        self._failures = Failures(len(shards))

    def results(self) -> Iterator[Any]:
        """Yield the results in the order of the shards."""
        try:
            for number in range(len(self._shards)):
                self._send(number)
                while number not in self._results:
                    self._receive()
                    self._send(number)
                yield self._results.pop(number)
        finally:
            self._pool.forget(self._key)

    def _send(self, first: int) -> None:
        """Give the workers shards, as many as the window from the ``first`` that is still to be taken has room for."""
        workers = self._pool.ready()
        loads = Counter(worker for worker, _ in self._under_way.values())
        for load in range(SHARDS_AHEAD):
            for worker in workers:
                if loads[worker] == load and self._waiting and self._waiting[0] < first + WINDOW * len(workers):
                    self._give(worker, self._waiting.popleft())
                    loads[worker] += 1

    def _give(self, worker: Worker, number: int) -> None:
        self._under_way[worker.actor.compute.remote(self._key, [self._work], self._shards[number])] = worker, number

    def _receive(self) -> None:
        """Take what is finished, and wait a moment where nothing is."""
        import ray

        refs = [*self._under_way, *self._pool.starting()]
        if not refs:
            time.sleep(SECONDS_OF_WAITING)
            return
        done, _ = ray.wait(refs, timeout=SECONDS_OF_WAITING)
        for ref in done:
            if ref in self._under_way:
                self._settle(ref)

    def _settle(self, ref: "ray.ObjectRef[Any]") -> None:
        import ray

        worker, number = self._under_way[ref]
        try:
            self._results[number] = ray.get(ref)
            del self._under_way[ref]
        except ray.exceptions.RayTaskError as error:
            raise self._failures.error(number, worker, error) from error.cause
        except ray.exceptions.RayError as error:
            self._lose(worker, error)

    def _lose(self, worker: Worker, error: Exception) -> None:
        """Put back what a dead worker had; the first of it was under way."""
        self._pool.bury(worker)
        lost = sorted(number for other, number in self._under_way.values() if other is worker)
        self._under_way = {ref: held for ref, held in self._under_way.items() if held[0] is not worker}
        self._waiting = deque(sorted([*lost, *self._waiting]))
        self._failures.count(lost[0], worker, error)
