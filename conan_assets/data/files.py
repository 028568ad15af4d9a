"""Where the files of a source lie: here, behind a URL of any file system that fsspec knows, or in the package."""

import contextlib
import io
import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from upath import UPath

from conan_assets.data.digests import Digest
from conan_assets.data.tables import TableError
from conan_assets.redaction import redacted, redacted_of

logger = logging.getLogger("conan_assets")

AnyPath = Path | UPath

SAMPLE = "sample:"
OF_TABLES = re.compile(r"(?i)\.(parquet|arrow|feather|jsonl?|ndjson|[ct]sv|txt|xlsx?)(\.(gz|zst|bz2|xz|zip))?$")
"""How a file is called that holds a table, read here or not."""

SAMPLES = Path(__file__).parents[1] / "samples"


def locate(location: str) -> str:
    """Return ``location``, or where the folder lies that comes with the package as ``sample:<folder>``."""
    return str(SAMPLES / location.removeprefix(SAMPLE)) if location.startswith(SAMPLE) else location


def open_folder(name: str, location: str) -> AnyPath:
    """Return the folder of the source ``name``, as it is now: a path, or a URL of any file system that fsspec knows.

    Raises
    ------
    TableError
        It is not there, or its file system cannot be reached.
    """
    try:
        folder = UPath(locate(location))
        if isinstance(folder, Path):
            folder = folder.expanduser()
        else:
            folder.fs.invalidate_cache()  # it would list what was there when this process first looked
        found = folder.is_dir()
    except Exception as error:
        # Every file system has exceptions of its own; what they all mean here is the same.
        problem = f"{type(error).__name__}: {redacted_of(str(error), location)}"
        raise TableError(
            f"source {name}: {location} cannot be opened ({problem}); "
            f"correct sources.{name}.path, its credentials, or install the file system's package"
        ) from None
    if not found:
        where = f" in {Path.cwd()}" if isinstance(folder, Path) and not folder.is_absolute() else ""
        raise TableError(f"source {name}: there is no folder {location}{where}; correct sources.{name}.path")
    return folder


def find_table(folder: AnyPath, name: str, suffixes: tuple[str, ...]) -> AnyPath | None:
    """Return the file ``name`` of ``folder`` with one of ``suffixes``, or None.

    Raises
    ------
    TableError
        There is more than one, or none but one of another format.
    """
    with naming(folder):
        found = [path for suffix in suffixes if (path := folder / f"{name}{suffix}").is_file()]
        other = [] if found else [found for found in _tables_in(folder) if found.lower().startswith(f"{name}.")]
    if other:
        raise TableError(
            f"{folder} holds {other[0]}, which is not read: unpack, convert or rename it to {name} with "
            f"{' or '.join(suffixes)}"
        )
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise TableError(f"{folder} holds {names}: keep one of them, it is not clear which to read")
    return found[0] if found else None


def tell_unread(folder: AnyPath, names: Iterable[str]) -> None:
    """Log which tables of ``folder`` are read by nobody, as they have other ``names``."""
    with naming(folder):
        unread = sorted(file for file in _tables_in(folder) if file.split(".")[0] not in names)
    if unread:
        logger.warning(
            "%s: files not read: %s; the names that are read are %s",
            redacted(str(folder)),
            ", ".join(unread),
            ", ".join(names),
        )


def _tables_in(folder: AnyPath) -> list[str]:
    """Return the names of the files of a folder that hold a table."""
    return [path.name for path in folder.iterdir() if OF_TABLES.search(path.name)] if folder.is_dir() else []


@contextlib.contextmanager
def opened(path: AnyPath) -> Iterator[BinaryIO]:
    """Yield a file to read, a remote one fetched whole; raise TableError where that is not possible."""
    with naming(path):
        file = path.open("rb") if isinstance(path, Path) else io.BytesIO(path.read_bytes())
    with file:
        yield file


def fingerprint_content(path: AnyPath, digest: Digest) -> str:
    """Return a fingerprint of a file: the ``digest`` of its bytes, or of what a remote store says of its version."""
    if isinstance(path, Path):
        return digest(path)
    with naming(path):
        return f"{path.fs.checksum(path.path):x}"


@contextlib.contextmanager
def naming(path: AnyPath) -> Iterator[None]:
    """Turn whatever a file system raises about ``path`` into a TableError: each has exceptions of its own."""
    try:
        yield
    except Exception as error:
        problem = redacted_of(str(error), str(path))
        raise TableError(f"{path} cannot be read ({type(error).__name__}: {problem}); make it readable") from None
