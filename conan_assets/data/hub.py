"""Datasets of the Hugging Face Hub, or local folders in hub layout: judged in BEIR layout, or examples by split."""

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from conan_assets.artifacts import fingerprint
from conan_assets.data.beir import BEIR_CORPUS, BEIR_JUDGEMENTS, BEIR_QUERIES, BeirTable, assemble
from conan_assets.data.digests import Digest
from conan_assets.data.examples import (
    SUFFIXES,
    HubOfExamples,
    assemble_examples,
    table_of_examples,
    without_empty_texts,
)
from conan_assets.data.intake import Intake
from conan_assets.data.readers import read_table
from conan_assets.data.settings import HubSource, HubTable
from conan_assets.data.tables import Table, TableError

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

COMMIT = re.compile("[0-9a-f]{40}")
ROWS_PER_READ = 10_000


def read_hub(name: str, settings: HubSource) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return (corpus, pairs) of datasets in BEIR layout; raise TableError naming the repository, split and column."""
    corpus = _load(name, settings, settings.corpus, BEIR_CORPUS)
    queries = _load(name, settings, settings.queries, BEIR_QUERIES)
    splits = {split: table for split, table in settings.judgements.items() if settings.train or split != "train"}
    judgements: dict[str, BeirTable] = {
        split: _load(name, settings, table, BEIR_JUDGEMENTS) for split, table in splits.items()
    }
    if settings.skip_empty:
        corpus, queries = _with_text(corpus, "title", "text"), _with_text(queries, "text")
        judgements = {split: _naming(table, corpus, queries) for split, table in judgements.items()}
    return assemble(name, corpus, queries, judgements)


def read_hub_examples(name: str, settings: HubOfExamples) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return (corpus, pairs) of a dataset of examples; raise TableError naming the repository, split and column."""
    splits = {split: table for split, table in settings.tables.items() if settings.train or split != "train"}
    if not splits:
        raise TableError(f"source {name}: it names a train table alone, and sources.{name}.train is false; add a table")
    schema = table_of_examples(settings)
    loaded = {split: _load(name, settings, table, schema) for split, table in splits.items()}
    tables: dict[str, tuple[pl.DataFrame, str]] = {split: (table.rows, table.origin) for split, table in loaded.items()}
    if settings.skip_empty:
        tables = {split: (without_empty_texts(rows), origin) for split, (rows, origin) in tables.items()}
    return assemble_examples(name, settings, tables)


def fingerprint_hub(name: str, settings: HubSource | HubOfExamples, digest: Digest) -> str:
    """Return a fingerprint of what is read: every repository by its commit, every local folder by its content."""
    if isinstance(settings, HubSource):
        tables = [settings.corpus, settings.queries, *settings.judgements.values()]
    else:
        tables = list(settings.tables.values())
    places = sorted({_place(settings, table) for table in tables}, key=str)
    return fingerprint([_content(name, path, revision, digest) for path, revision in places])


def _place(settings: HubSource | HubOfExamples, table: HubTable) -> tuple[str, str | None]:
    """Return (path, revision) of a table: its own, or else the source's."""
    return (settings.path, settings.revision) if table.path is None else (table.path, table.revision)


def _content(name: str, path: str, revision: str | None, digest: Digest) -> str:
    folder = Path(path).expanduser()
    if folder.is_dir():
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        return fingerprint({str(file.relative_to(folder)): digest(file) for file in files})
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


def _load(name: str, settings: HubSource | HubOfExamples, table: HubTable, schema: Table) -> BeirTable:
    """Return one table with its columns under their names here."""
    path, revision = _place(settings, table)
    origin = f"{path} (config {table.config or 'default'}, split {table.split})"
    if files := _files_of_our_formats(path, table):
        parts = [read_table(file, schema, table.columns, settings.max_text_bytes) for file in files]
        return BeirTable(pl.concat(parts).head(table.max_rows or sum(map(len, parts))), origin)
    intake = Intake(schema, f"source {name}: {origin}", table.columns, settings.max_text_bytes)
    try:
        _take_rows(path, revision, table, intake)
    except TableError:
        raise
    except Exception as error:
        # Whatever it is that `datasets` raises, the reader needs to know the source it was raised for.
        raise TableError(f"source {name}: {origin} cannot be loaded: {_causes(error)}") from None
    return BeirTable(intake.frame(), origin)


def _files_of_our_formats(path: str, table: HubTable) -> list[Path]:
    """Return the local files that a table names, if they are read here: `datasets` takes the types of the first one."""
    folder = Path(path).expanduser()
    if table.data_files is None or table.split != "train" or not folder.is_dir():
        return []
    files = sorted(folder.glob(table.data_files))
    return files if all(file.suffix in SUFFIXES for file in files) else []


def _causes(error: BaseException | None) -> str:
    """Return the words of an exception and of what caused it: `datasets` tells the reason in the latter."""
    told = []
    while error is not None:
        told.append(f"{type(error).__name__}: {error}")
        error = error.__cause__
    return "; ".join(dict.fromkeys(told))


def _take_rows(path: str, revision: str | None, table: HubTable, intake: Intake) -> None:
    from datasets import load_dataset

    options: dict[str, Any] = {"split": table.split, "data_files": table.data_files, "streaming": table.streaming}
    folder = Path(path).expanduser()
    if not folder.is_dir():
        _take_blocks(load_dataset(path, table.config, revision=revision, **options), table.max_rows, intake)
        return
    # `datasets` finds a local folder's cached copy without looking at the files again: give it a cache of its own.
    with tempfile.TemporaryDirectory(prefix="conan_assets_hub_") as cache:
        _take_blocks(load_dataset(str(folder), table.config, cache_dir=cache, **options), table.max_rows, intake)


def _take_blocks(rows: "Dataset | IterableDataset", max_rows: int | None, intake: Intake) -> None:
    limited = rows if max_rows is None else rows.take(max_rows)
    empty = True
    for block in limited.with_format("arrow").iter(batch_size=ROWS_PER_READ):
        intake.see(block.column_names)
        wanted = pl.DataFrame(block.select(intake.wanted(block.column_names)))
        intake.add(wanted.to_dict(), wanted.height)
        empty = False
    if empty:
        raise ValueError("it has no rows")


def _with_text(table: BeirTable, *columns: str) -> BeirTable:
    """Return the rows that have a text in one of ``columns``."""
    present = [pl.col(name).fill_null("").str.strip_chars() != "" for name in columns if name in table.rows.columns]
    return BeirTable(table.rows.filter(pl.any_horizontal(present)), table.origin)


def _naming(judgements: BeirTable, corpus: BeirTable, queries: BeirTable) -> BeirTable:
    """Return the judgements of documents and queries that are there."""
    known = pl.col("corpus-id").is_in(corpus.rows["_id"].implode()) & pl.col("query-id").is_in(
        queries.rows["_id"].implode()
    )
    return BeirTable(judgements.rows.filter(known), judgements.origin)
