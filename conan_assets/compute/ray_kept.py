"""Shards that workers of a Ray cluster keep, and answer from as often as they are asked."""

import functools
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

from conan_assets.compute.ray_failures import Failures
from conan_assets.compute.ray_pool import SHARDS_AHEAD, Pool, Worker


class KeptOnRay:
    """Shards with their holders; those of a worker that dies are given to others. For several threads.

    A worker merges what its own shards answer, and the asking process what the workers do.
    """

    def __init__(self, pool: Pool, make: Callable[[Any], Any], shards: Sequence[Any]) -> None:
        import ray

        self.key = uuid.uuid4().hex
        self._pool, self._shards, self._make = pool, shards, ray.put(make)
        self._holders: dict[int, Worker] = {}
        self._failures = Failures(len(shards))
        self._lock = threading.Lock()

    def ask(self, task: Any, merge: Callable[[Any, Any], Any]) -> Any:  # noqa: ANN401
        """Return what every shard makes of a task, merged; errors as of ``RayCluster.map``."""
        import ray

        sent, answers = ray.put(task), []
        under_way: dict[Any, tuple[Worker, list[int]]] = {}
        missing: Collection[int] = range(len(self._shards))
        while missing or under_way:
            if missing:
                for worker, numbers in self._held_by(missing).items():
                    under_way[worker.actor.ask.remote(self.key, numbers, sent, merge)] = worker, numbers
            (done, *_), _ = ray.wait(list(under_way))
            worker, missing = under_way.pop(done)
            try:
                answers.append(ray.get(done))
                missing = []
            except ray.exceptions.RayTaskError as error:
                raise self._failures.error(min(missing), worker, error) from error.cause
            except ray.exceptions.RayError as error:
                with self._lock:
                    self._lose(worker, error)
        return functools.reduce(merge, answers)

    def _held_by(self, numbers: Collection[int]) -> dict[Worker, list[int]]:
        """Return the shards of those numbers by their holders, after giving out those that have none."""
        with self._lock:
            while homeless := [number for number in range(len(self._shards)) if number not in self._holders]:
                self._give_out(homeless)
            held: dict[Worker, list[int]] = {}
            for number in numbers:
                held.setdefault(self._holders[number], []).append(number)
            return held

    def _give_out(self, homeless: Sequence[int]) -> None:
        """Give some shards, so many as memory is sure to have room for, to the workers that hold the fewest."""
        import ray

        workers = self._pool.settled()
        loads = Counter(dict.fromkeys(workers, 0))
        loads.update(worker for worker in self._holders.values() if worker in loads)
        sent = []
        for number in homeless[: SHARDS_AHEAD * len(workers)]:
            worker = min(workers, key=lambda each: loads[each])
            loads[worker] += 1
            sent.append(
                (worker, number, worker.actor.keep.remote(self.key, [self._make], number, self._shards[number]))
            )
        for worker, number, ref in sent:
            try:
                ray.get(ref)
                self._holders[number] = worker
            except ray.exceptions.RayTaskError as error:
                raise self._failures.error(number, worker, error) from error.cause
            except ray.exceptions.RayError as error:
                self._holders[number] = worker
                self._lose(worker, error)

    def _lose(self, worker: Worker, error: Exception) -> None:
        """Forget a dead worker and that it held anything; another thread may have done so."""
        lost = [number for number, holder in self._holders.items() if holder is worker]
        if lost:
            self._pool.bury(worker)
            self._holders = {number: holder for number, holder in self._holders.items() if holder is not worker}
            self._failures.count(min(lost), worker, error)
