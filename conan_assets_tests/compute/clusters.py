"""A Ray cluster whose nodes are processes of this machine that listen on 127.0.0.1 alone."""

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

TOKEN = "a-token-of-the-tests-that-is-long-enough"
NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "node_ip_address": "127.0.0.1"}


@dataclass(frozen=True)
class NotedSquare:
    """Squares a number and notes who did; a worker that is given ``deadly`` is killed."""

    notes: Path
    deadly: int | None = None
    seconds: float = 0.0
    loaded: list[int] = field(default_factory=list)

    def __call__(self, number: int) -> int:
        if not self.loaded:
            self.loaded.append(number)
            (self.notes / f"loaded-{os.getpid()}-{number}").touch()
        (self.notes / f"begun-{number}-{time.monotonic_ns()}").touch()
        time.sleep(self.seconds)
        if number == self.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        if number < 0:
            raise ValueError(f"{number} is below 0")
        return number**2


@dataclass(frozen=True)
class KilledBeforeWork:
    """Ends the process that is to say whether it can begin."""

    def require(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def __call__(self, number: int, meeting_place: str) -> Iterator[object]:
        yield number


@contextlib.contextmanager
def loopback_cluster() -> Iterator[Any]:
    """Yield a cluster of one node with one core; this process is a driver of none when it ends."""
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder, pytest.MonkeyPatch.context() as patch:
        # Off, Ray takes 127.0.0.1 for a machine's address; sockets must have short names.
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", TOKEN)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        Path(folder, "ray").mkdir()
        import ray
        from ray._raylet import Config
        from ray.cluster_utils import Cluster

        Config.initialize("")  # it reads the token's mode, once
        patch.setattr("ray._private.ray_constants.ENABLE_RAY_CLUSTER", False)
        cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        try:
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


def kill_node(node: Any) -> None:
    """End all processes of a node at once, as when its machine loses power."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    for process in [raylet, *raylet.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            os.kill(process.pid, signal.SIGKILL)


def wait_until(condition, seconds=60):
    """Return when the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
