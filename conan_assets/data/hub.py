"""Datasets of the Hugging Face Hub, or local folders in hub layout: judged in BEIR layout, or examples by split."""

import contextlib
import re
import tempfile
import traceback
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from conan_assets.artifacts import fingerprint
from conan_assets.data.beir import BEIR_CORPUS, BEIR_JUDGEMENTS, BEIR_QUERIES, BeirTable, assemble
from conan_assets.data.columns import Cells
from conan_assets.data.digests import Digest
from conan_assets.data.documents import DOCUMENT_ROWS, corpus_of_passages, documents_of, passages_of
from conan_assets.data.examples import (
    SUFFIXES,
    HubOfExamples,
    assemble_examples,
    table_of_examples,
    without_empty_texts,
)
from conan_assets.data.intake import Intake
from conan_assets.data.passages import PASSAGES_VERSION
from conan_assets.data.readers import read_table
from conan_assets.data.settings import HubDocumentsSource, HubSource, HubTable
from conan_assets.data.tables import Table, TableError
from conan_assets.redaction import redacted_of
from conan_assets.strict_json import decode

if TYPE_CHECKING:
    from datasets import BuilderConfig, DatasetBuilder

OnTheHub = HubSource | HubOfExamples | HubDocumentsSource

COMMIT = re.compile("[0-9a-f]{40}")
ROWS_PER_READ = 10_000
CELLS_AS_TEXTS: dict[str, Any] = {"converters": {}, "keep_default_na": False, "na_values": [""]}
"""How `datasets` reads separated values without taking ``NA`` for nothing and ``007`` for 7."""


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


def read_hub_documents(name: str, settings: HubDocumentsSource) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return (CORPUS of passages, report) of a table of long texts; raise TableError naming repository and column."""
    table = _load(name, settings, settings.table, DOCUMENT_ROWS)
    documents = list(documents_of(table.rows))
    rows = [row for place, document in documents for row in passages_of(name, place, document, settings)]
    if not rows:
        raise TableError(f"source {name}: no row of {table.origin} holds a document with text")
    corpus, report = corpus_of_passages(name, rows, settings.personal_data)
    report["documents"][0] |= {"documents": len(documents), "rows_without_text": table.rows.height - len(documents)}
    return corpus, report


def fingerprint_hub(name: str, settings: OnTheHub, digest: Digest) -> str:
    """Return a fingerprint of what is read: every repository by its commit, every local folder by its content."""
    if isinstance(settings, HubDocumentsSource):
        tables = [settings.table]
    elif isinstance(settings, HubSource):
        tables = [settings.corpus, settings.queries, *settings.judgements.values()]
    else:
        tables = list(settings.tables.values())
    places = sorted({_place(settings, table) for table in tables}, key=str)
    versions = [PASSAGES_VERSION] if isinstance(settings, HubDocumentsSource) else []
    return fingerprint([_content(name, path, revision, digest) for path, revision in places], *versions)


def _place(settings: OnTheHub, table: HubTable) -> tuple[str, str | None]:
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
        problem = redacted_of(redacted_of(str(error), path), revision or "")
        raise TableError(
            f"source {name}: {path!r} is neither a local folder nor, at revision {revision or 'main'}, a dataset that "
            f"the hub can be asked about now; correct the path, or set its revision to a commit to read the local "
            f"cache without a network ({problem})"
        ) from None


def _load(name: str, settings: OnTheHub, table: HubTable, schema: Table) -> BeirTable:
    """Return one table with its columns under their names here."""
    path, revision = _place(settings, table)
    folder = Path(path).expanduser()
    origin = f"{path} (config {table.config or 'default'}, split {table.split})"
    intake = Intake(schema, f"source {name}: {origin}", table.columns, settings.max_text_bytes)
    files: list[str] = []
    with contextlib.ExitStack() as opened:
        # `datasets` finds a local folder's cached copy without looking at the files again: give it a cache of its own.
        cache = opened.enter_context(tempfile.TemporaryDirectory(prefix="conan_")) if folder.is_dir() else None
        try:
            builder = _builder(str(folder) if cache else path, revision, table, intake, cache)
            files = list((builder.config.data_files or {}).get(table.split, []))
            if _are_read_here(builder.config, files):
                limit = settings.max_text_bytes
                parts = [read_table(Path(file), schema, table.columns, limit, origin) for file in files]
                return BeirTable(pl.concat(parts).head(table.max_rows or sum(map(len, parts))), origin)
            _take_blocks(builder, table, intake)
        except TableError:
            raise
        except Exception as error:
            # Whatever it is that `datasets` raises, the reader needs to know the source it was raised for.
            told = f"{_file_of(error, files)}{redacted_of(redacted_of(_causes(error), path), revision or '')}"
            raise TableError(f"source {name}: {origin} cannot be loaded: {told}") from None
    return BeirTable(intake.frame(), origin)


def _builder(path: str, revision: str | None, table: HubTable, intake: Intake, cache: str | None) -> "DatasetBuilder":
    """Return what reads a table; of comma-separated values every cell that is wanted as the text that it is."""
    from datasets import load_dataset_builder

    options: dict[str, Any] = {"revision": revision, "data_files": table.data_files, "cache_dir": cache}
    builder = load_dataset_builder(path, table.config, **options)
    if hasattr(builder.config, "converters"):
        options |= CELLS_AS_TEXTS | {"converters": dict.fromkeys(intake.places, _filled)}
        builder = load_dataset_builder(path, table.config, **options)
    return builder


def _filled(cell: str) -> str | None:
    return cell or None


def _are_read_here(config: "BuilderConfig", files: list[str]) -> bool:
    """Return whether all files of a split are local ones that we read: `datasets` takes the types of the first one."""
    free = {"name", "version", "data_dir", "data_files", "description", "features", "sep", *CELLS_AS_TEXTS}
    is_plain = all(getattr(config, item.name) == item.default for item in fields(config) if item.name not in free)
    local = [Path(file) for file in files if "://" not in file]
    return is_plain and len(local) == len(files) > 0 and all(file.suffix in SUFFIXES for file in local)


def _file_of(error: BaseException | None, files: list[str]) -> str:
    """Return which file a builder was reading, by the variables of its loop, when ``error`` was raised; "" if none."""
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            read, number = frame.f_locals, frame.f_locals.get("file_idx", frame.f_locals.get("shard_idx"))
            if frame.f_code.co_name == "_generate_tables" and number is not None:
                given = read.get("original_files") or read.get("base_files") or read.get("files") or []
                names = files if len(given) == len(files) else given
                return f"{names[number]}: " if number < len(names) else ""
        error = error.__cause__
    return ""


def _causes(error: BaseException | None) -> str:
    """Return the words of an exception and of what caused it: `datasets` tells the reason in the latter."""
    told = []
    while error is not None:
        told.append(f"{type(error).__name__}: {error}")
        error = error.__cause__
    return "; ".join(dict.fromkeys(told))


def _take_blocks(builder: "DatasetBuilder", table: HubTable, intake: Intake) -> None:
    from datasets import Json

    if table.streaming:
        rows = builder.as_streaming_dataset(split=table.split)
    else:
        builder.download_and_prepare()
        rows = builder.as_dataset(split=table.split)
    limited = rows if table.max_rows is None else rows.take(table.max_rows)
    mixed = {name for name, kind in (rows.features or {}).items() if isinstance(kind, Json)}
    empty = True
    for block in limited.with_format("arrow").iter(batch_size=ROWS_PER_READ):
        intake.see(block.column_names)
        wanted = pl.DataFrame(block.select(intake.wanted(block.column_names)))
        cells: dict[str, Cells] = {**wanted.to_dict()}
        for name in mixed & set(cells):
            cells[name] = [None if cell is None else decode(cell) for cell in cells[name]]
        intake.add(cells, wanted.height)
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
