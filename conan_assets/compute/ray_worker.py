"""What runs in a worker process on a node of a Ray cluster."""

import os
from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ray

PACKAGE = "conan-assets"

Work = Callable[[Any], Any]


class OtherVersionError(RuntimeError):
    """A node has another version of this package than the process that gives it work."""


class RayWorker:
    """Holds works by key, each received once, and computes shards of them, one after the other."""

    def __init__(self) -> None:
        self._works: dict[str, Work] = {}

    def begin(self, expected: str) -> None:
        """Begin; raise OtherVersionError if the package's version here is not the one expected."""
        if (here := version(PACKAGE)) != expected:
            raise OtherVersionError(f"{PACKAGE} is {here} here and {expected} where the work comes from")
        os.environ.setdefault("TQDM_DISABLE", "1")

    def compute(self, key: str, work: "list[ray.ObjectRef[Work]]", shard: object) -> object:
        """Return the result of a work for a shard; the work is fetched once."""
        if key not in self._works:
            import ray

            self._works[key] = ray.get(work[0])
        return self._works[key](shard)

    def forget(self, key: str) -> None:
        """Drop a work, and the model that it may hold."""
        self._works.pop(key, None)
