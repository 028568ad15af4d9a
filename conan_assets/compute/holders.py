"""Shards that others hold, and answer from as often as they are asked: who holds which, and what follows a death."""

import functools
import threading
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, Protocol, TypeVar

import threadpoolctl

SHARDS_AHEAD = 2
"""Shards under way to each process at a time: none waits for its next one, and memory is sure to have room for them."""

Holder = TypeVar("Holder", bound=Hashable)
Merge = Callable[[Any, Any], Any]


class HolderDiedError(Exception):
    """A holder of shards has ended."""


class Holders(Protocol[Holder]):
    """Processes that may hold shards.

    What one is told to do is under way at once; calling what is returned waits for it, and raises HolderDiedError where
    the holder is dead.
    """

    def ready(self) -> Sequence[Holder]:
        """Return those that live, at least one; new ones take the places of those that died."""
        ...

    def keep(self, holder: Holder, number: int, shard: Any) -> Callable[[], None]:  # noqa: ANN401
        """Have the shard of that number kept."""
        ...

    def ask(self, held: Mapping[Holder, list[int]], task: Any, merge: Merge) -> list[Callable[[], Any]]:  # noqa: ANN401
        """Ask each holder what its shards of those numbers make of a task, merged."""
        ...

    def bury(self, holder: Holder, number: int, error: HolderDiedError) -> None:
        """Do without a holder that died at the shard of that number; raise WorkerDiedError if too many did."""
        ...


class HeldShards(Generic[Holder]):
    """Shards with their holders; those of a holder that dies are given to others. For several threads.

    A holder merges what its own shards answer, and the asking process what the holders do.
    """

    def __init__(self, holders: Holders[Holder], shards: Sequence[Any]) -> None:
        self._holders, self._shards = holders, shards
        self._held: dict[Holder, set[int]] = {}
        self._lock = threading.Lock()

    def ask(self, task: Any, merge: Merge) -> Any:  # noqa: ANN401
        """Return what every shard makes of a task, merged; raise WorkerDiedError if one cost too many holders."""
        answers, missing = [], set(range(len(self._shards)))
        while missing:
            held = self._held_by(missing)
            begun = self._holders.ask(held, task, merge)
            for (holder, numbers), answer in zip(held.items(), begun, strict=True):
                try:
                    answers.append(answer())
                    missing.difference_update(numbers)
                except HolderDiedError as error:
                    with self._lock:
                        self._lose(holder, numbers[0], error)
        return functools.reduce(merge, answers)

    def _held_by(self, numbers: Collection[int]) -> dict[Holder, list[int]]:
        """Return the shards of those numbers by their holders, after giving out those that have none."""
        with self._lock:
            while homeless := set(range(len(self._shards))).difference(*self._held.values()):
                self._give_out(sorted(homeless))
            by_holder = {holder: sorted(held.intersection(numbers)) for holder, held in self._held.items()}
            return {holder: held for holder, held in by_holder.items() if held}

    def _give_out(self, homeless: Sequence[int]) -> None:
        """Give some shards, so many as memory is sure to have room for, to the holders that have the fewest."""
        holders = self._holders.ready()
        loads = {holder: len(self._held.setdefault(holder, set())) for holder in holders}
        sent = []
        for number in homeless[: SHARDS_AHEAD * len(holders)]:
            holder = min(holders, key=lambda each: loads[each])
            loads[holder] += 1
            sent.append((holder, number, self._holders.keep(holder, number, self._shards[number])))
        for holder, number, kept in sent:
            try:
                kept()
                self._held.get(holder, set()).add(number)
            except HolderDiedError as error:
                self._lose(holder, number, error)

    def _lose(self, holder: Holder, number: int, error: HolderDiedError) -> None:
        """Forget a holder that died at a shard, and what it held; another thread may have done so."""
        if self._held.pop(holder, None) is not None:
            self._holders.bury(holder, number, error)


def ask_each(shards: Iterable[Callable[[Any], Any]], task: object, merge: Merge, threads: int) -> Any:  # noqa: ANN401
    """Return what shards make of a task, merged; each is asked by one of so many threads, which compute alone."""
    alone = functools.partial(threadpoolctl.threadpool_limits, 1, "openmp")
    with threadpoolctl.threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads, initializer=alone) as pool:
        return functools.reduce(merge, pool.map(lambda shard: shard(task), shards))
