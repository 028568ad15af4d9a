"""The worker processes on the nodes of a Ray cluster: one for each GPU, or for some cores of a cluster without GPUs.

A worker belongs to a slot of a node. Where one has died, and where a node has joined, the next look starts another.
"""

import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from conan_assets.compute import ATTEMPTS
from conan_assets.compute.ray_connection import ClusterError
from conan_assets.compute.ray_worker import PACKAGE, RayWorker

if TYPE_CHECKING:
    import ray

SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_TO_START = 60.0
SECONDS_WITHOUT_NODES = 60.0
SECONDS_OF_WAITING_IN_SILENCE = 30.0
SECONDS_BETWEEN_WARNINGS = 600.0
NODES_NAMED = 5
SECONDS_OF_IDLENESS = 30.0
"""How long workers wait for more to do: importing torch takes them longer than some works."""

logger = logging.getLogger("conan_assets")


Driver = tuple[str, str]


@dataclass(frozen=True)
class Slot:
    """A place for a worker: the ``number``-th of a node, with what it may use there."""

    node: str
    name: str
    number: int
    cpus: int
    gpus: int


class Worker:
    """A worker process in its slot.

    Attributes
    ----------
    starting
        Its first task, until it is done.
    end
        Kills the process.
    """

    def __init__(self, slot: Slot) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(slot.node, soft=False)
        options = {"num_cpus": slot.cpus, "num_gpus": slot.gpus, "scheduling_strategy": here}
        self.slot = slot
        worker: Any = ray.remote(RayWorker)
        self.actor: Any = worker.options(**options).remote()
        self.starting: ray.ObjectRef[None] | None = self.actor.begin.remote(version(PACKAGE), slot.cpus or 1)
        self.end = partial(ray.kill, self.actor)


class Pool:
    """The workers of a cluster, for several threads.

    Parameters
    ----------
    driver
        What this process is to the cluster; the workers are gone when it is that no more.
    cpus
        Cores for each worker of a cluster without GPUs.
    """

    def __init__(self, driver: Driver, cpus: int) -> None:
        self._driver = driver
        self._cpus = cpus
        self._workers: dict[Slot, Worker] = {}
        self._failed_starts: Counter[Slot] = Counter()
        self._lock = threading.RLock()
        self._looked = -SECONDS_BETWEEN_LOOKS
        self._had_workers = self._idle_since = time.monotonic()
        self._warns_at = time.monotonic() + SECONDS_OF_WAITING_IN_SILENCE
        self._has_gpus: bool | None = None
        self._users = 0

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Keep the workers in the body, and for some time after it."""
        with self._lock:
            self._users += 1
            self._had_workers = time.monotonic()
            self._warns_at = time.monotonic() + SECONDS_OF_WAITING_IN_SILENCE
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                self._idle_since = time.monotonic()
                timer = threading.Timer(SECONDS_OF_IDLENESS, self._end_idle_workers)
                timer.daemon = True
                timer.start()

    def ready(self) -> list[Worker]:
        """Fill the free slots of the nodes that live now, and return the workers that have started.

        Where none has for half a minute, a warning says what they wait for.

        Raises
        ------
        ClusterError
            A worker cannot start, or no node has had a slot for a minute.
        """
        with self._lock:
            if time.monotonic() - self._looked >= SECONDS_BETWEEN_LOOKS:
                self._looked = time.monotonic()
                self._fill()
            for worker in list(self._workers.values()):
                if worker.starting is not None:
                    self._await(worker, worker.starting)
            ready = [worker for worker in self._workers.values() if worker.starting is None]
            if ready:
                self._warns_at = time.monotonic() + SECONDS_OF_WAITING_IN_SILENCE
            elif self._workers and time.monotonic() >= self._warns_at:
                self._warns_at = time.monotonic() + SECONDS_BETWEEN_WARNINGS
                _warn_of_waiting([*self._workers])
            return ready

    def settled(self) -> list[Worker]:
        """Return the workers as :meth:`ready` does, some, and once no other is starting or a minute has passed."""
        import ray

        began = time.monotonic()
        while True:
            workers, starting = self.ready(), self.starting()
            if workers and (not starting or time.monotonic() - began > SECONDS_TO_START):
                return workers
            if starting:
                ray.wait(starting, timeout=SECONDS_BETWEEN_LOOKS)
            else:
                time.sleep(SECONDS_BETWEEN_LOOKS)

    def starting(self) -> "list[ray.ObjectRef[None]]":
        """Return the first tasks of the workers that have not started yet."""
        with self._lock:
            return [worker.starting for worker in self._workers.values() if worker.starting is not None]

    def bury(self, worker: Worker) -> None:
        """Free the slot of a worker that has died, or of which nothing is heard."""
        with self._lock:
            if self._workers.get(worker.slot) is worker:
                del self._workers[worker.slot]
                worker.end()

    def forget(self, key: str) -> None:
        """Let all workers drop the work of that key, and what they keep for it."""
        with self._lock:
            for worker in self._workers.values() if _this_driver() == self._driver else ():
                worker.actor.forget.remote(key)

    def _end_idle_workers(self) -> None:
        with self._lock:
            if self._users or time.monotonic() - self._idle_since < SECONDS_OF_IDLENESS:
                return
            for worker in self._workers.values() if _this_driver() == self._driver else ():
                worker.end()
            self._workers.clear()

    def _fill(self) -> None:
        for slot in self._slots():
            if slot not in self._workers:
                self._workers[slot] = Worker(slot)
        if self._workers:
            self._had_workers = time.monotonic()
        elif time.monotonic() - self._had_workers > SECONDS_WITHOUT_NODES:
            raise ClusterError(
                f"no node of the Ray cluster has had room for a worker for {SECONDS_WITHOUT_NODES:.0f} s: `ray status` "
                "shows its nodes and what they offer"
            )

    def _slots(self) -> list[Slot]:
        nodes = [node for node in _nodes() if node["Alive"]]
        gpus = {node["NodeID"]: int(node["Resources"].get("GPU", 0)) for node in nodes}
        if self._has_gpus is None and any("CPU" in node["Resources"] for node in nodes):
            self._has_gpus = any(gpus.values())
        slots = []
        for node in nodes:
            cores, name = int(node["Resources"].get("CPU", 0)), node["NodeManagerHostname"]
            count = gpus[node["NodeID"]] if self._has_gpus else max(cores // self._cpus, min(cores, 1))
            share = cores // max(count, 1) if self._has_gpus else min(cores, self._cpus)
            of_node = (node["NodeID"], f"{name} ({node['NodeManagerAddress']}, {node['NodeID'][:8]})")
            slots += [Slot(*of_node, number, share, 1 if self._has_gpus else 0) for number in range(count)]
        return slots

    def _await(self, worker: Worker, starting: "ray.ObjectRef[None]") -> None:
        """Note a worker's start, or bury it; raise ClusterError where it will never start."""
        import ray

        try:
            ray.get(starting, timeout=0)
            worker.starting = None
        except ray.exceptions.GetTimeoutError:
            return
        except ray.exceptions.RayTaskError as error:
            raise ClusterError(f"no worker starts on node {worker.slot.name}: {error.cause or error}") from error
        except ray.exceptions.RayError as error:
            self.bury(worker)
            self._failed_starts[worker.slot] += 1
            never = getattr(error, "actor_init_failed", False)
            if never or self._failed_starts[worker.slot] >= ATTEMPTS:
                raise ClusterError(f"no worker starts on node {worker.slot.name}: {error}") from error
            logger.warning("a worker did not start on node %s: %s", worker.slot.name, error)


def _warn_of_waiting(slots: list[Slot]) -> None:
    import ray

    missing = Counter((slot.name, slot.cpus, slot.gpus) for slot in slots)
    wanted = [f"{count} x {_resources(cpus, gpus)} on node {name}" for (name, cpus, gpus), count in missing.items()]
    more = f" and {len(wanted) - NODES_NAMED} nodes more" if len(wanted) > NODES_NAMED else ""
    free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    logger.warning(
        "no worker has started yet on the Ray cluster: waiting for %s%s; free in all are %s: another run may hold the "
        "rest, see `ray status`",
        ", ".join(wanted[:NODES_NAMED]),
        more,
        _resources(int(free.get("CPU", 0)), int(free.get("GPU", 0))),
    )


def _resources(cpus: int, gpus: int) -> str:
    return f"{cpus} CPU and {gpus} GPU" if gpus else f"{cpus} CPU"


_POOLS: dict[tuple[Driver, int], Pool] = {}
_LOCK = threading.Lock()


def pool_of_this_driver(cpus: int) -> Pool:
    """Return the workers of this process with so many cores each, as long as it stays connected."""
    driver = _this_driver()
    assert driver is not None
    with _LOCK:
        return _POOLS.setdefault((driver, cpus), Pool(driver, cpus))


def _this_driver() -> Driver | None:
    """Return the cluster's address and this process's number there, None where it is connected to none."""
    import ray

    if not ray.is_initialized():
        return None
    context = ray.get_runtime_context()
    return context.gcs_address, context.get_job_id()


def _nodes() -> list[dict[str, Any]]:
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return nodes
