"""What becomes of a shard that a worker of a Ray cluster does not compute."""

from collections import Counter
from typing import TYPE_CHECKING

from conan_assets.compute import ATTEMPTS, WorkerDiedError
from conan_assets.compute.ray_pool import Worker
from conan_assets.progress import logger

if TYPE_CHECKING:
    import ray


class ShardError(RuntimeError):
    """A shard cannot be computed; the message names it, the node and what was wrong."""


class Failures:
    """The deaths of workers at each of so many shards."""

    def __init__(self, shards: int) -> None:
        self._shards = shards
        self._deaths: Counter[int] = Counter()

    def error(self, number: int, worker: Worker, error: "ray.exceptions.RayTaskError") -> ShardError:
        """Return the error of a shard that raised one, with its cause."""
        cause = error.cause or error
        told = ShardError(
            f"{self._name(number)} failed on node {worker.slot.name}: {type(cause).__name__}: {cause}; what is "
            "finished is kept"
        )
        told.__cause__ = cause
        return told

    def count(self, number: int, worker: Worker, error: Exception) -> None:
        """Count the death of a worker at a shard; raise WorkerDiedError if it was one too many."""
        self._deaths[number] += 1
        if self._deaths[number] >= ATTEMPTS:
            raise WorkerDiedError(
                f"workers died {ATTEMPTS} times at {self._name(number)}, the last one on node {worker.slot.name}: "
                "probably out of memory; give it more, or fewer workers with compute.cpus_per_worker; what is "
                f"finished is kept ({error})"
            ) from error
        told = "a worker on node %s died at %s; others compute it again"
        logger.warning(told, worker.slot.name, self._name(number))

    def _name(self, number: int) -> str:
        return f"shard {number + 1:,} of {self._shards:,}"
