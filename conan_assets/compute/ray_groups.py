"""One process on each of several nodes of a Ray cluster, all at work on one thing at the same time."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from conan_assets.compute import WorkerDiedError
from conan_assets.compute.ray_connection import ClusterError, connect

SECONDS_TO_PLACE = 120.0
SECONDS_AFTER_AN_ERROR = 30.0


class WorkOfNode(Protocol):
    """What one of the nodes does."""

    def require(self) -> None:
        """Raise an error where this node lacks what the work needs; called on all nodes before any begins."""
        ...

    def __call__(self, number: int, meeting_place: str) -> Iterator[object]:
        """Yield what the node has to tell, given its number and an address of the first one, host and port."""
        ...


class Member:
    """What runs on a node."""

    def meeting_place(self, work: WorkOfNode) -> str:
        """Return this node's address with a port that is free, if the node has what the work needs."""
        import ray

        work.require()
        host: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        with socket.socket() as free:
            free.bind((host, 0))
            return f"{host}:{free.getsockname()[1]}"

    def run(self, work: WorkOfNode, number: int, meeting_place: str) -> Iterator[object]:
        """Yield what the work has to tell."""
        yield from work(number, meeting_place)


def run_together(
    address: str | None, nodes: int, gpus: int, work: WorkOfNode, tell: Callable[[int, object], None]
) -> list[BaseException | None]:
    """Run a work on so many nodes, which all end when this function is left.

    Parameters
    ----------
    address
        Host and port of the cluster's head; None for ``$RAY_ADDRESS``.
    gpus
        What the work needs on each node; a cluster without any gives it a core.
    tell
        Called with the number of a node and what it yields.

    Returns
    -------
    list
        The error that ended each node's work, if one did: WorkerDiedError where the node or its process died. When one
        has ended so, the others are given half a minute.

    Raises
    ------
    ClusterError
        The cluster cannot be used, or has not so many nodes that are free.
    Exception
        What ``work.require`` raised on one of the nodes.
    """
    connect(address)
    with _members(nodes, gpus) as members:
        import ray

        try:
            meeting_place, *_ = ray.get([member.meeting_place.remote(work) for member in members])
        except ray.exceptions.RayTaskError as error:
            raise error.cause or error from None
        except ray.exceptions.RayError as error:
            return [WorkerDiedError(f"a node died before the work began: {error}")] * nodes
        streams: dict[Any, int] = {
            member.run.options(num_returns="streaming").remote(work, number, meeting_place): number
            for number, member in enumerate(members)
        }
        errors: list[BaseException | None] = [None] * nodes
        while streams:
            done, _ = ray.wait(list(streams), timeout=SECONDS_AFTER_AN_ERROR if any(errors) else None)
            if not done:
                break
            ready: Any = done[0]
            try:
                tell(streams[ready], ray.get(next(ready)))
            except StopIteration:
                del streams[ready]
            except ray.exceptions.RayTaskError as error:
                errors[streams.pop(ready)] = error.cause or error
            except ray.exceptions.RayError as error:
                number = streams.pop(ready)
                errors[number] = WorkerDiedError(f"what ran on node {number + 1} of {nodes} died: {error}")
        return errors


@contextlib.contextmanager
def _members(nodes: int, gpus: int) -> Iterator[list[Any]]:
    import ray
    from ray.util.placement_group import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    needs = {"CPU": 1, **({"GPU": gpus} if ray.cluster_resources().get("GPU") else {})}  # type: ignore[no-untyped-call]
    group = placement_group([needs] * nodes, strategy="STRICT_SPREAD")
    try:
        if not group.wait(SECONDS_TO_PLACE):
            raise ClusterError(
                f"the Ray cluster has not had {nodes} nodes with {needs} free each for {SECONDS_TO_PLACE:.0f} s: "
                "`ray status` shows its nodes and what they offer"
            )
        member: Any = ray.remote(Member)
        yield [
            member.options(
                num_cpus=1,
                num_gpus=needs.get("GPU", 0),
                scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=number),
            ).remote()
            for number in range(nodes)
        ]
    finally:
        remove_placement_group(group)
