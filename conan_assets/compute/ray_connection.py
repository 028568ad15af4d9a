"""The way to a Ray cluster: what may go wrong on it is said within seconds, where Ray itself would wait for minutes."""

import logging
import os

import grpc

SECONDS_TO_ANSWER = 5.0

ADDRESS = "RAY_ADDRESS"


class ClusterError(RuntimeError):
    """A Ray cluster cannot be used; the message names it and says what to do."""


def connect(address: str | None) -> None:
    """Make this process a driver of the cluster, unless it is one already.

    Parameters
    ----------
    address
        Host and port of the cluster's head; None for ``$RAY_ADDRESS``.

    Raises
    ------
    ClusterError
        Ray is not installed, nothing answers at the address, or the cluster refuses this process: another version of
        Ray or Python, or another token.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise ClusterError(
            "a Ray cluster is to compute, and Ray is not installed: pip install 'conan-assets[ray]' --constraint "
            "constraints.txt"
        ) from error
    if ray.is_initialized():
        return
    address = address or os.environ.get(ADDRESS)
    if not address:
        raise ClusterError("which Ray cluster computes is not said: set compute.address or $RAY_ADDRESS to HOST:PORT")
    _require_answer(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise ClusterError(
            f"the Ray cluster at {address} refuses this process: {error}; its versions of Ray and Python and its token "
            "($RAY_AUTH_MODE and $RAY_AUTH_TOKEN) must be those of this machine, which must be one of its nodes"
        ) from error


def _require_answer(address: str) -> None:
    """Raise ClusterError if no gRPC server answers; a cluster with TLS is left to Ray."""
    if os.environ.get("RAY_USE_TLS", "0") != "0":
        return
    with grpc.insecure_channel(address) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=SECONDS_TO_ANSWER)
        except grpc.FutureTimeoutError as error:
            raise ClusterError(
                f"no Ray cluster answers at {address} within {SECONDS_TO_ANSWER:.0f} s: start one with `ray start "
                "--head`, let this machine join it with `ray start --address`, and see docs/ray.md"
            ) from error
