"""Whether a file is what was written: a digest of every part, JSON that carries its own."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xxhash

from conan_assets.files import TEMPORARY_NAME, files_of

DAMAGED = "damaged"
"""Folder of a storage root that holds what was set aside."""
_DIGEST = "digest"


class DamagedError(ValueError):
    """A file is not what was written; the message names it."""


def digest_of(data: bytes | memoryview) -> str:
    """Return the digest of bytes, 32 hex digits that tell damage, not intent: XXH3 of 128 bits."""
    return xxhash.xxh3_128(data).hexdigest()


def digest_file(path: Path) -> str:
    """Return the digest of a file's bytes, see :func:`digest_of`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()


def digest_parts(folder: Path) -> dict[str, str]:
    """Return the digest of every file below ``folder`` by its path there, without what a killed writer left behind."""
    parts = (path for path in files_of(folder) if not TEMPORARY_NAME.fullmatch(path.name))
    return {path.relative_to(folder).as_posix(): digest_file(path) for path in parts}


def require_intact(folder: Path, parts: Mapping[str, str]) -> None:
    """Raise DamagedError, which names the file, unless every part below ``folder`` has its digest."""
    for name, digest in parts.items():
        path = folder / name
        if not path.is_file():
            raise DamagedError(f"{path} is missing")
        if digest_file(path) != digest:
            raise DamagedError(f"{path} is damaged: its bytes are not those that were written")


def seal(document: Mapping[str, Any]) -> str:
    """Return ``document`` as JSON that :func:`unseal` takes as long as no value in it has changed."""
    values = json.loads(json.dumps(document))
    return json.dumps({**values, _DIGEST: _digest_of_values(values)}, indent=1, ensure_ascii=False)


def unseal(path: Path) -> dict[str, Any]:
    """Return the document that was sealed into a file; raise DamagedError, which names it, if it is another one."""
    if path.exists() and not path.is_file():
        raise DamagedError(f"{path} is damaged: it is no file")
    return unseal_bytes(path.read_bytes(), path)


def unseal_bytes(content: bytes, place: object) -> dict[str, Any]:
    """Return the document that was sealed into ``content``; raise DamagedError, which names the place, if not."""
    try:
        document: dict[str, Any] = json.loads(content)
        digest = document.pop(_DIGEST)
    except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise DamagedError(f"{place} is damaged: it is not the JSON that was written") from error
    if digest != _digest_of_values(document):
        raise DamagedError(f"{place} is damaged: its values are not those that were written")
    return document


def _digest_of_values(document: Mapping[str, Any]) -> str:
    return digest_of(json.dumps(document, sort_keys=True).encode())


def set_aside(path: Path, home: Path) -> Path:
    """Move a damaged file or folder of a storage root to where nobody reads it and a person can look; return where."""
    place = home / DAMAGED / path.relative_to(home)
    place.parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while place.exists():
        number += 1
        place = place.with_name(f"{path.name}.{number}")
    path.rename(place)
    os.utime(place)
    return place
