"""Credentials taken out of URLs, wherever one is printed, logged or kept."""

import re

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


def _plain(url: re.Match[str]) -> str:
    path, question, _ = _USER.sub(f"{HIDDEN}@", url["rest"], count=1).partition("?")
    return f"{url['scheme']}{path}{question}{HIDDEN if question else ''}"
