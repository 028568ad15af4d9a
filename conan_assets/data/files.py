"""Tables out of Parquet, JSONL, CSV and TSV files, here or behind a URL; errors name the file and the line."""

import codecs
import io
import json
from pathlib import Path

import polars as pl
from upath import UPath

from conan_assets.data.digests import Digest
from conan_assets.data.tables import TableError

AnyPath = Path | UPath

SAMPLE = "sample:"
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
        raise TableError(
            f"source {name}: {location} cannot be opened ({type(error).__name__}: {error}); correct "
            f"sources.{name}.path, its credentials, or install the file system's package"
        ) from error
    if not found:
        raise TableError(f"source {name}: there is no folder {location}; correct sources.{name}.path")
    return folder


def find_table(folder: AnyPath, name: str, suffixes: tuple[str, ...]) -> AnyPath | None:
    """Return the file ``name`` of ``folder`` with one of ``suffixes``, or None; raise TableError on more than one."""
    found = [path for suffix in suffixes if (path := folder / f"{name}{suffix}").is_file()]
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise TableError(f"{folder} holds {names}: keep one of them, it is not clear which to read")
    return found[0] if found else None


def fingerprint_content(path: AnyPath, digest: Digest) -> str:
    """Return a fingerprint of a file: the ``digest`` of its bytes, or of what a remote store says of its version."""
    return digest(path) if isinstance(path, Path) else f"{path.fs.checksum(path.path):x}"


def read_table(path: AnyPath) -> pl.DataFrame:
    """Return the rows of a ``.parquet``, ``.jsonl``, ``.csv`` or ``.tsv`` file; columns of the last two are text.

    Raises
    ------
    TableError
        The file is not what its suffix says; the message names the file, and the line of JSONL.
    """
    readers = {".parquet": _read_parquet, ".jsonl": _read_jsonl, ".csv": _read_csv, ".tsv": _read_tsv}
    if not path.stat().st_size:
        raise TableError(f"{path} is empty: write it again")
    return readers[path.suffix](path)


def _source(path: AnyPath) -> Path | io.BytesIO:
    """Return what polars reads: the path itself, or the bytes of a remote file."""
    return path if isinstance(path, Path) else io.BytesIO(path.read_bytes())


def _without_byte_order_mark(path: AnyPath) -> Path | io.BytesIO:
    with path.open("rb") as file:
        if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            return _source(path)
        return io.BytesIO(file.read())


def _read_parquet(path: AnyPath) -> pl.DataFrame:
    try:
        return pl.read_parquet(_source(path))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise TableError(
            f"{path} is not readable Parquet, it is damaged or cut off: write it again ({error})"
        ) from error


def _read_tsv(path: AnyPath) -> pl.DataFrame:
    try:
        return pl.read_csv(_source(path), separator="\t", quote_char=None, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise TableError(f"{path} is not tab-separated UTF-8 text with a header line: {error}") from error


def _read_csv(path: AnyPath) -> pl.DataFrame:
    try:
        return pl.read_csv(_source(path), infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise TableError(f"{path} is not comma-separated UTF-8 text with a header line: {error}") from error


def _read_jsonl(path: AnyPath) -> pl.DataFrame:
    try:
        return pl.read_ndjson(_without_byte_order_mark(path), infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        raise TableError(f"{path}{_first_broken_line(path)}: {error}") from error


def _first_broken_line(path: AnyPath) -> str:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
            except ValueError:
                return f": line {number} is not JSON; correct or remove it"
            if not isinstance(row, dict):
                return f": line {number} is not a JSON object; correct or remove it"
    return ": is not JSON lines with the same columns and types in every line"
