"""New attempts at a stage, only where another one may help."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import ParamSpec, TypeVar, cast

import dagster as dg

from conan_assets.failures import is_transient
from conan_assets.redaction import without_credentials

MAX_RETRIES = 2
SECONDS_BETWEEN_ATTEMPTS = 30.0

P = ParamSpec("P")
R = TypeVar("R")


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
        with without_credentials():
            yield
    except Exception as error:
        if isinstance(error, dg.Failure | dg.RetryRequested) or not is_transient(error):
            raise
        raise dg.RetryRequested(MAX_RETRIES, SECONDS_BETWEEN_ATTEMPTS) from error
