"""What this machine has for processes that compute, and what is said when they die of it."""

import os
from collections import Counter

from conan_assets.compute import ATTEMPTS, WorkerDiedError
from conan_assets.progress import logger

VISIBLE = "CUDA_VISIBLE_DEVICES"


def gpus() -> int:
    """Return how many GPUs this process sees."""
    import torch

    return torch.cuda.device_count()


def device(number: int) -> str | None:
    """Return what makes a process see one GPU of those that this one sees, None where there is none."""
    count = gpus()
    if not count:
        return None
    visible = os.environ.get(VISIBLE)
    names = visible.split(",") if visible else [str(gpu) for gpu in range(count)]
    return names[number % count]


def cores_of_each(processes: int) -> int:
    """Return the cores for each of so many processes."""
    return max(1, (os.cpu_count() or 1) // processes)


class Deaths:
    """The deaths of processes at each of so many shards."""

    def __init__(self, shards: int) -> None:
        self._shards = shards
        self._at: Counter[int] = Counter()

    def count(self, number: int, error: Exception) -> None:
        """Count a death at the shard of that number; raise WorkerDiedError if it was one too many."""
        self._at[number] += 1
        shard = f"shard {number + 1:,} of {self._shards:,}"
        if self._at[number] >= ATTEMPTS:
            raise WorkerDiedError(
                f"a process that computed died {ATTEMPTS} times at {shard}: probably out of memory (`dmesg` tells); "
                "give compute.processes fewer, or 1; what is finished is kept"
            ) from error
        logger.warning("a process that computed died at %s; another takes over what it had", shard)
