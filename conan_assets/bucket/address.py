"""Where a home is: a folder of this machine, or an address in a bucket and the folder of its working copy."""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator

SCHEMES = ("s3", "gs", "az")
CACHE = "CONAN_CACHE"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""What no folder is meant by; a single letter is a drive."""
_ADDRESS = re.compile(rf"(?:{'|'.join(SCHEMES)})://(?P<bucket>[A-Za-z0-9][A-Za-z0-9._-]*)(?P<prefix>(?:/[^/?#\s]+)*)/?")


def is_bucket(home: str | Path) -> bool:
    """Return whether ``home`` is an address in a bucket."""
    return isinstance(home, str) and _ADDRESS.fullmatch(home) is not None


def read_home(value: object) -> object:
    """Return the address of a home in a bucket without its last slash, or a folder's path.

    Raises
    ------
    ValueError
        It is a URL, and none of a bucket.
    """
    text = str(value)
    if not _URL.match(text):
        return Path(text) if isinstance(value, str) else value
    if "@" in text or "?" in text:
        raise ValueError("holds credentials; leave them out: they are taken from the environment")
    if not is_bucket(text):
        named = ", ".join(f"{scheme}://bucket/prefix" for scheme in SCHEMES)
        raise ValueError(f"is a URL; give a folder of this machine or a bucket's address, {named}")
    return text.rstrip("/")


def local_folder(home: str | Path, environment: Mapping[str, str] = os.environ) -> Path:
    """Return the absolute folder of ``home`` on this machine: itself, or where the working copy of its bucket lies.

    Working copies lie below ``$CONAN_CACHE``, by default ``~/.cache/conan_assets/homes``.
    """
    if not is_bucket(home):
        return Path(home).expanduser().absolute()
    default = Path(environment.get("XDG_CACHE_HOME") or "~/.cache") / "conan_assets" / "homes"
    cache = Path(environment.get(CACHE) or default).expanduser().absolute()
    _, _, place = str(home).partition("://")
    return cache / f"{place.partition('/')[0]}-{hashlib.sha256(str(home).encode()).hexdigest()[:16]}"


Home = Annotated[Path | str, BeforeValidator(read_home)]
"""A folder, as a path, or a bucket's address, as text."""
