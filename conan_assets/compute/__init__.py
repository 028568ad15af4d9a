"""Who computes the shards of a work: this process, one process for each device of the machine, or a Ray cluster.

A work is a function of one shard that can be pickled; the same shard gives the same result wherever it runs.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

Shard = TypeVar("Shard")
Result = TypeVar("Result")
Task = TypeVar("Task", contravariant=True)

ATTEMPTS = 3
"""Deaths of whatever computes a shard after which it is given up."""


class WorkerDiedError(RuntimeError):
    """A process that computed was ended again and again."""


class Kept(Protocol[Task, Result]):
    """Shards that stay with those that compute, and answer as often as they are asked."""

    def ask(self, task: Task, merge: Callable[[Result, Result], Result]) -> Result:
        """Return what every shard makes of a task, merged two by two in any order."""
        ...


class Compute(Protocol):
    """Runs a work over its shards."""

    def keep(
        self, make: Callable[[Shard], Callable[[Task], Result]], shards: Sequence[Shard]
    ) -> Kept[Task, Result] | None:
        """Give out shards to be kept as what ``make`` makes of them.

        Returns
        -------
        Kept
            None where the process that asks does best to compute alone. Shards are read one by one as they are sent,
            and again where their holder is lost; they are kept as long as this lives.
        """
        ...

    def map(self, work: Callable[[Shard], Result], shards: Sequence[Shard]) -> Iterator[Result]:
        """Yield the result of every shard, in their order, as they are finished."""
        ...


class InProcess:
    """Computes one shard after the other in the process that asks."""

    def map(self, work: Callable[[Shard], Result], shards: Sequence[Shard]) -> Iterator[Result]:
        """Yield the result of every shard, each computed when it is asked for."""
        return map(work, shards)

    def keep(
        self, make: Callable[[Shard], Callable[[Task], Result]], shards: Sequence[Shard]
    ) -> Kept[Task, Result] | None:
        """Return None: what this process keeps, it has."""
        return None


IN_PROCESS = InProcess()
