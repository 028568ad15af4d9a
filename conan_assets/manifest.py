"""What lies beside every finished output: the manifest that says what it is, and the pointer to the current one."""

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from conan_assets.integrity import DamagedError, unseal

MANIFEST = "manifest.json"
CURRENT = "current"
PARTIAL_SUFFIX = ".partial"
FINISHED = re.compile(r"[A-Za-z0-9]+")
"""Names of folders that are finished versions, not temporary or partial."""


class Manifest(BaseModel):
    """What ``manifest.json`` holds: what was made of what, and the digest of every file that lies beside it.

    Attributes
    ----------
    order
        Counts the versions of a key as they were finished or taken up again; clocks may be set back.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    key: str
    fingerprint: str
    content: str
    order: int
    finished_at: float
    made_from: dict[str, str]
    parts: dict[str, str]
    report: dict[str, Any]


def read_manifest(directory: Path) -> Manifest:
    """Return the manifest of a finished version; raise DamagedError, which names the file, if it is none."""
    path = directory / MANIFEST
    if not path.is_file():
        raise DamagedError(f"{path} is missing")
    return parse_manifest(unseal(path), path)


def parse_manifest(document: dict[str, Any], place: object) -> Manifest:
    """Return an unsealed document as a manifest; raise DamagedError, which names the place, if it is none."""
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        raise DamagedError(f"{place} is damaged: it is no manifest of this version of the programme") from error


def read_pointer(path: Path) -> str:
    """Return the fingerprint that a pointer names, "" if it names none."""
    try:
        return named_in(path.read_bytes()) if path.is_file() else ""
    except FileNotFoundError:
        return ""


def named_in(pointer: bytes) -> str:
    """Return the fingerprint in a pointer's content, "" if it holds none."""
    name = pointer.decode(errors="replace").strip()
    return name if FINISHED.fullmatch(name) else ""
