"""Hugging Face datasets in BEIR layout, on the hub or in a local folder in hub layout."""

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from conan_assets.artifacts import fingerprint, fingerprint_file
from conan_assets.data.beir import BeirTable, assemble
from conan_assets.data.settings import HubSource, HubTable
from conan_assets.data.tables import TableError

if TYPE_CHECKING:
    from datasets import Dataset

COMMIT = re.compile("[0-9a-f]{40}")


def read_hub(name: str, settings: HubSource) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return (corpus, pairs) of a Hugging Face dataset; raise TableError naming the repository, split and column."""
    corpus = _load(name, settings, settings.corpus)
    queries = _load(name, settings, settings.queries)
    splits = {split: table for split, table in settings.judgements.items() if settings.train or split != "train"}
    return assemble(name, corpus, queries, {split: _load(name, settings, table) for split, table in splits.items()})


def fingerprint_hub(name: str, settings: HubSource) -> str:
    """Return a fingerprint of what is read: every repository by its commit, every local folder by its content."""
    tables = [settings.corpus, settings.queries, *settings.judgements.values()]
    places = sorted({_place(settings, table) for table in tables}, key=str)
    return fingerprint([_content(name, path, revision) for path, revision in places])


def _place(settings: HubSource, table: HubTable) -> tuple[str, str | None]:
    """Return (path, revision) of a table: its own, or else the source's."""
    return (settings.path, settings.revision) if table.path is None else (table.path, table.revision)


def _content(name: str, path: str, revision: str | None) -> str:
    folder = Path(path).expanduser()
    if folder.is_dir():
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        return fingerprint({str(file.relative_to(folder)): fingerprint_file(file) for file in files})
    return revision if revision and COMMIT.fullmatch(revision) else _commit(name, path, revision)


def _commit(name: str, path: str, revision: str | None) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

    try:
        return str(HfApi().dataset_info(path, revision=revision).sha)
    except (HFValidationError, OfflineModeIsEnabled, OSError) as error:
        raise TableError(
            f"source {name}: {path!r} is neither a local folder nor, at revision {revision or 'main'}, a dataset that "
            f"the hub can be asked about now; correct the path, or set its revision to a commit to read the local "
            f"cache without a network ({error})"
        ) from error


def _load(name: str, settings: HubSource, table: HubTable) -> BeirTable:
    """Return one table with its columns under their names in BEIR layout."""
    path, revision = _place(settings, table)
    origin = f"{path} (config {table.config or 'default'}, split {table.split})"
    try:
        rows = _load_rows(path, revision, table)
    except Exception as error:
        raise TableError(f"source {name}: {origin} cannot be loaded: {type(error).__name__}: {error}") from error
    missing = [column for column in table.columns.values() if column not in rows.columns]
    if missing:
        raise TableError(
            f"source {name}: {origin} lacks the column {missing[0]!r} of its column mapping; it has "
            f"{', '.join(rows.columns)}"
        )
    renamed = {there: here for here, there in table.columns.items()}
    return BeirTable(rows.select(pl.col(there).alias(renamed.get(there, there)) for there in rows.columns), origin)


def _load_rows(path: str, revision: str | None, table: HubTable) -> pl.DataFrame:
    from datasets import load_dataset

    folder = Path(path).expanduser()
    if not folder.is_dir():
        rows = load_dataset(path, table.config, split=table.split, revision=revision)
        return _to_frame(rows)
    # `datasets` finds a local folder's cached copy without looking at the files again: give it a cache of its own.
    with tempfile.TemporaryDirectory(prefix="conan_assets_hub_") as cache:
        rows = load_dataset(str(folder), table.config, split=table.split, cache_dir=cache, keep_in_memory=True)
        return _to_frame(rows)


def _to_frame(rows: "Dataset") -> pl.DataFrame:
    return pl.DataFrame(rows.with_format("arrow")[:])
