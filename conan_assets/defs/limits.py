"""New attempts at a stage, only where another one may help."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import ParamSpec, TypeVar, cast

import dagster as dg

MAX_RETRIES = 2
SECONDS_BETWEEN_ATTEMPTS = 30.0

TRANSIENT_STATUS = {408, 409, 425, 429, 500, 502, 503, 504}
TRANSIENT_NAMES = {
    "APIConnectionError",  # openai
    "ConnectionError",
    "OutOfMemoryError",  # torch: another process has filled the GPU
    "TimeoutError",
    "TransportError",  # httpx2
}

P = ParamSpec("P")
R = TypeVar("R")


def is_transient(error: BaseException) -> bool:
    """Return whether ``error``, or what caused it, may be gone at the next attempt: a network, an endpoint, a GPU."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    if any(type(link).__name__ == "OfflineModeIsEnabled" for link in chain):
        return False
    return any(_is_transient(link) for link in chain)


def _is_transient(error: BaseException) -> bool:
    names = {kind.__name__ for kind in type(error).__mro__}
    status = getattr(error, "status_code", getattr(getattr(error, "response", None), "status_code", None))
    return bool(names & TRANSIENT_NAMES) or status in TRANSIENT_STATUS


def retried(body: Callable[P, R]) -> Callable[P, R]:
    """Return an asset's function, a generator or not, that asks for another attempt after a transient error.

    Not by a ``dagster.RetryPolicy``: that one also starts a step again that was interrupted, so that a run which
    somebody cancels goes on.
    """

    @functools.wraps(body)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with _retrying():
            return body(*args, **kwargs)

    @functools.wraps(body)
    def generate(*args: P.args, **kwargs: P.kwargs) -> Iterator[object]:
        with _retrying():
            yield from cast(Iterable[object], body(*args, **kwargs))

    return cast(Callable[P, R], generate) if inspect.isgeneratorfunction(body) else call


@contextlib.contextmanager
def _retrying() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if isinstance(error, dg.Failure | dg.RetryRequested) or not is_transient(error):
            raise
        raise dg.RetryRequested(MAX_RETRIES, SECONDS_BETWEEN_ATTEMPTS) from error
