"""Credentials taken out of URLs, wherever one is printed, logged or kept."""

import contextlib
import re
from collections.abc import Iterator

HIDDEN = "***"
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<rest>[^\s'\"<>]+)")
_USER = re.compile(r"\A(?P<user>[^/?#@:]*(?::(?!\d+(?:[/?#]|$))[^@]*)?)@")
"""What stands before the host: a name, or a name and a password, which may hold slashes; a port is neither."""


def redacted(text: str) -> str:
    """Return ``text`` with ``***`` for user, password and query of every URL in it.

    >>> redacted("s3://key:secret@bucket/docs and https://host/a.csv?sig=abc are not there")
    's3://***@bucket/docs and https://host/a.csv?*** are not there'
    """
    return _URL.sub(_plain, text)


def redacted_of(text: str, url: str) -> str:
    """Return ``text``, an error about ``url``, with ``***`` for its credentials also where they stand without it."""
    found = _URL.search(url)
    rest = found["rest"] if found else ""
    user, query = _USER.match(rest), rest.partition("?")[2]
    secrets = [*(user["user"].split(":", 1) if user else []), *(pair.partition("=")[2] for pair in query.split("&"))]
    text = redacted(text)
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


@contextlib.contextmanager
def without_credentials() -> Iterator[None]:
    """Take the credentials of URLs out of every error that passes, and out of what caused it.

    An error of a library that words itself anew each time is left out of the chain; as the last one it becomes a
    RuntimeError.
    """
    try:
        yield
    except Exception as error:
        if _is_plain(error):
            raise
        raise RuntimeError(redacted(f"{type(error).__name__}: {error}")) from None


def _is_plain(error: BaseException) -> bool:
    """Redact an error and the chain of its causes; return whether the error itself holds no credentials any more."""
    error.args = tuple(redacted(value) if isinstance(value, str) else value for value in error.args)
    if isinstance(error, OSError) and isinstance(error.filename, str):
        error.filename = redacted(error.filename)
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and not _is_plain(cause):
        error.__cause__, error.__suppress_context__ = None, True
    return str(error) == redacted(str(error))


def _plain(url: re.Match[str]) -> str:
    path, question, _ = _USER.sub(f"{HIDDEN}@", url["rest"], count=1).partition("?")
    return f"{url['scheme']}{path}{question}{HIDDEN if question else ''}"
