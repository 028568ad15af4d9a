"""Every source by its kind: its corpus and pairs, and a fingerprint that tells whether it has to be read again."""

import logging
from typing import Any

import polars as pl

from conan_assets.artifacts import fingerprint, fingerprint_file
from conan_assets.data.beir import beir_files, cap_train_queries, fingerprint_beir_folder, read_beir_folder
from conan_assets.data.digests import Digest
from conan_assets.data.document_files import document_files, fingerprint_documents
from conan_assets.data.documents import read_documents
from conan_assets.data.examples import example_files, fingerprint_examples, read_examples
from conan_assets.data.hub import fingerprint_hub, read_hub, read_hub_documents, read_hub_examples
from conan_assets.data.python_docs import fingerprint_python_docs, read_python_docs
from conan_assets.data.query_log import fingerprint_query_log, query_log_splits, read_query_log
from conan_assets.data.settings import (
    BeirSource,
    ClassificationSource,
    DocumentsSource,
    HubDocumentsSource,
    HubSource,
    PairsSource,
    PythonDocsSource,
    QueryLogSource,
    SourceSettings,
    StsSource,
    UnaskedSource,
)
from conan_assets.data.tables import PAIRS, TableError
from conan_assets.redaction import redacted

SOURCES_VERSION = 3
"""Of all readers: to be raised with the corpus or the pairs that the same source becomes."""

NO_PAIRS = pl.DataFrame(schema=dict(PAIRS.columns))

logger = logging.getLogger("conan_assets")


def load_source(name: str, settings: SourceSettings) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return (corpus, pairs) as :func:`read_source` does, without what there is to say about the reading."""
    return read_source(name, settings)[:2]


def read_source(name: str, settings: SourceSettings) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    """Return (corpus, pairs, report) of the source ``name``, the first two in the schemas of CORPUS and PAIRS.

    Ids begin with ``<name>:``. The pairs hold every split the source has, without ``train`` where
    ``settings.train`` is false.

    Raises
    ------
    TableError
        The source is not there or breaks its layout; the message names the file, the column, the row or id, and
        what to do.
    """
    corpus, pairs, report = _read(name, settings)
    pairs = pairs if settings.train else pairs.filter(pl.col("split") != "train")
    _check_usable(name, settings, pairs)
    if settings.max_train_queries is not None:
        pairs = cap_train_queries(pairs, settings.max_train_queries)
    queries = dict(pairs.group_by("split").agg(pl.col("query_id").n_unique()).iter_rows())
    logger.info("source %s: %s documents, queries by split %s", name, f"{corpus.height:,}", queries)
    return corpus, pairs, report


def source_splits(name: str, settings: SourceSettings) -> set[str]:
    """Return the splits that a source has a file or a table for, or that are written for it, none of them read.

    Raises
    ------
    TableError
        Its folder is not there, or lacks a file that it must have.
    """
    match settings:
        case PythonDocsSource():
            found = {"train", "test"} | ({"dev"} if settings.dev_percent else set())
        case UnaskedSource():
            if isinstance(settings, DocumentsSource):
                document_files(name, settings)
            found = {"train", "dev", "test"}
        case QueryLogSource():
            found = query_log_splits(name, settings)
        case BeirSource():
            found = set(beir_files(name, settings)) - {"corpus", "queries"}
        case HubSource():
            found = set(settings.judgements)
        case PairsSource() | StsSource() | ClassificationSource():
            found = set(example_files(name, settings))
        case _:
            found = set(settings.tables)
    return found if settings.train else found - {"train"}


def source_fingerprint(name: str, settings: SourceSettings, digest: Digest = fingerprint_file) -> str:
    """Return a fingerprint of the content of a source and the settings of its reading, without parsing it.

    Local files count by the ``digest`` of their content, hub repositories by commit, the Python documentation by
    interpreter and library.

    Raises
    ------
    TableError
        The source is not there.
    """
    read = settings.model_dump(mode="json", exclude={"weight"})
    for place in (read, read.get("documents") or {}):
        place["path"] = redacted(str(place.get("path")))  # another password reads the same
    return fingerprint(name, read, _content_fingerprint(name, settings, digest))


def _read(name: str, settings: SourceSettings) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    match settings:
        case PythonDocsSource():
            return *read_python_docs(name, settings), {}
        case DocumentsSource():
            corpus, report = read_documents(name, settings)
            return corpus, NO_PAIRS, report
        case HubDocumentsSource():
            corpus, report = read_hub_documents(name, settings)
            return corpus, NO_PAIRS, report
        case QueryLogSource():
            return read_query_log(name, settings)
        case BeirSource():
            return *read_beir_folder(name, settings), {}
        case HubSource():
            return *read_hub(name, settings), {}
        case PairsSource() | StsSource() | ClassificationSource():
            return *read_examples(name, settings), {}
        case _:
            return *read_hub_examples(name, settings), {}


def _content_fingerprint(name: str, settings: SourceSettings, digest: Digest) -> str:
    match settings:
        case PythonDocsSource():
            return fingerprint_python_docs()
        case DocumentsSource():
            return fingerprint_documents(name, settings, digest)
        case QueryLogSource():
            return fingerprint_query_log(name, settings, digest)
        case BeirSource():
            return fingerprint_beir_folder(name, settings, digest)
        case PairsSource() | StsSource() | ClassificationSource():
            return fingerprint_examples(name, settings, digest)
        case _:
            return fingerprint_hub(name, settings, digest)


def _check_usable(name: str, settings: SourceSettings, pairs: pl.DataFrame) -> None:
    """Refuse a source without queries, unless they are written for it."""
    if isinstance(settings, UnaskedSource):
        return
    relevant = pairs.filter((pl.col("score") > 0) | (pl.col("task") != "retrieval"))
    if settings.train and "train" not in relevant["split"]:
        raise TableError(
            f"source {name}: no training query: its train split has no judgement with a score above 0; "
            f"add judgements to qrels/train, or set sources.{name}.train to false to use it for evaluation alone"
        )
    if not relevant.height:
        raise TableError(f"source {name}: no query has a judgement with a score above 0; add judgements")
