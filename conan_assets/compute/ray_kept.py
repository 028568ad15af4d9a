"""Workers of a Ray cluster that keep shards."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from conan_assets.compute.holders import HolderDiedError, Merge
from conan_assets.compute.ray_failures import Failures
from conan_assets.compute.ray_pool import Pool, Worker

if TYPE_CHECKING:
    import ray


class RayHolders:
    """The workers of a pool, which hold so many shards under a key, as what ``make`` makes of them."""

    def __init__(self, pool: Pool, make: Callable[[Any], Any], shards: int) -> None:
        import ray

        self.key = uuid.uuid4().hex
        self._pool, self._make = pool, ray.put(make)
        self._failures = Failures(shards)

    def ready(self) -> Sequence[Worker]:
        """Return the workers, once none is starting."""
        return self._pool.settled()

    def keep(self, worker: Worker, number: int, shard: object) -> Callable[[], None]:
        """Send a shard; waiting for it raises ShardError if it cannot be kept."""
        sent = worker.actor.keep.remote(self.key, [self._make], number, shard)
        return partial(self._wait, worker, number, sent)

    def ask(self, held: Mapping[Worker, list[int]], task: object, merge: Merge) -> list[Callable[[], Any]]:
        """Send a task, once to each node; waiting for an answer raises ShardError if a shard raised an error."""
        import ray

        task_ref = ray.put(task)
        sent = {worker: worker.actor.ask.remote(self.key, held[worker], task_ref, merge) for worker in held}
        return [partial(self._wait, worker, held[worker][0], ref) for worker, ref in sent.items()]

    def bury(self, worker: Worker, number: int, error: HolderDiedError) -> None:
        """Free the slot of a worker that died at a shard."""
        self._pool.bury(worker)
        self._failures.count(number, worker, error)

    def _wait(self, worker: Worker, number: int, ref: "ray.ObjectRef[Any]") -> Any:  # noqa: ANN401
        import ray

        try:
            return ray.get(ref)
        except ray.exceptions.RayTaskError as error:
            raise self._failures.error(number, worker, error) from error.cause
        except ray.exceptions.RayError as error:
            raise HolderDiedError(str(error)) from error
