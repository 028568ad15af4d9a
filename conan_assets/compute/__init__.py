"""Who computes the shards of a work: this process, one process for each device of the machine, or a Ray cluster.

A work is a function of one shard that can be pickled; the same shard gives the same result wherever it runs.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

Shard = TypeVar("Shard")
Result = TypeVar("Result")

ATTEMPTS = 3
"""Deaths of whatever computes a shard after which it is given up."""


class WorkerDiedError(RuntimeError):
    """A process that computed was ended again and again."""


class Compute(Protocol):
    """Runs a work over its shards."""

    def map(self, work: Callable[[Shard], Result], shards: Sequence[Shard]) -> Iterator[Result]:
        """Yield the result of every shard, in their order, as they are finished."""
        ...


class InProcess:
    """Computes one shard after the other in the process that asks."""

    def map(self, work: Callable[[Shard], Result], shards: Sequence[Shard]) -> Iterator[Result]:
        """Yield the result of every shard, each computed when it is asked for."""
        return map(work, shards)


IN_PROCESS = InProcess()
