"""What runs in a worker process on a node of a Ray cluster."""

import os
from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from conan_assets.compute.holders import Merge, ask_each

if TYPE_CHECKING:
    import ray

PACKAGE = "conan-assets"

Work = Callable[[Any], Any]


class OtherVersionError(RuntimeError):
    """A node has another version of this package than the process that gives it work."""


class RayWorker:
    """Holds works and kept shards by key, each received once, and does one thing after the other."""

    def __init__(self) -> None:
        self._works: dict[str, Work] = {}
        self._kept: dict[str, dict[int, Work]] = {}
        self._threads = 1

    def begin(self, expected: str, threads: int) -> None:
        """Begin; raise OtherVersionError if the package's version here is not the one expected."""
        self._threads = threads
        if (here := version(PACKAGE)) != expected:
            raise OtherVersionError(f"{PACKAGE} is {here} here and {expected} where the work comes from")
        os.environ.setdefault("TQDM_DISABLE", "1")
        os.environ.setdefault("POLARS_MAX_THREADS", str(threads))

    def compute(self, key: str, work: "list[ray.ObjectRef[Work]]", shard: object) -> object:
        """Return the result of a work for a shard; the work is fetched once."""
        return self._work(key, work)(shard)

    def keep(self, key: str, make: "list[ray.ObjectRef[Work]]", number: int, shard: object) -> None:
        """Keep what a work makes of the shard of that number."""
        self._kept.setdefault(key, {})[number] = self._work(key, make)(shard)

    def ask(self, key: str, numbers: list[int], task: object, merge: Merge) -> object:
        """Return what the kept shards of those numbers make of a task, merged."""
        return ask_each([self._kept[key][number] for number in numbers], task, merge, self._threads)

    def forget(self, key: str) -> None:
        """Drop a work, the model that it may hold, and the shards kept for it."""
        self._works.pop(key, None)
        self._kept.pop(key, None)

    def _work(self, key: str, work: "list[ray.ObjectRef[Work]]") -> Work:
        if key not in self._works:
            import ray

            self._works[key] = ray.get(work[0])
        return self._works[key]
