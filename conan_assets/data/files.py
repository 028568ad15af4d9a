"""Tables out of Parquet, JSONL and TSV files, with an error that names the file and the line when one is broken."""

import json
from pathlib import Path

import polars as pl

from conan_assets.data.tables import TableError


def find_table(folder: Path, name: str, suffixes: tuple[str, ...]) -> Path | None:
    """Return the file ``name`` of ``folder`` with one of ``suffixes``, or None; raise TableError on more than one."""
    found = [path for suffix in suffixes if (path := folder / f"{name}{suffix}").is_file()]
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise TableError(f"{folder} holds {names}: keep one of them, it is not clear which to read")
    return found[0] if found else None


def read_table(path: Path) -> pl.DataFrame:
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


def _read_parquet(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise TableError(
            f"{path} is not readable Parquet, it is damaged or cut off: write it again ({error})"
        ) from error


def _read_tsv(path: Path) -> pl.DataFrame:
    try:
        return pl.read_csv(path, separator="\t", quote_char=None, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise TableError(f"{path} is not tab-separated UTF-8 text with a header line: {error}") from error


def _read_csv(path: Path) -> pl.DataFrame:
    try:
        return pl.read_csv(path, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise TableError(f"{path} is not comma-separated UTF-8 text with a header line: {error}") from error


def _read_jsonl(path: Path) -> pl.DataFrame:
    try:
        return pl.read_ndjson(path, infer_schema_length=None)
    except pl.exceptions.PolarsError as error:
        raise TableError(f"{path}{_first_broken_line(path)}: {error}") from error


def _first_broken_line(path: Path) -> str:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
            except ValueError:
                return f": line {number} is not JSON; correct or remove it"
            if not isinstance(row, dict):
                return f": line {number} is not a JSON object; correct or remove it"
    return ": is not JSON lines with the same columns and types in every line"
