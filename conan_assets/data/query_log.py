"""A log of searches and clicks as judged queries, the newest of them for dev and test, beside what was searched."""

import logging
from datetime import datetime
from typing import Any, get_args

import polars as pl

from conan_assets.artifacts import fingerprint
from conan_assets.data.beir import BEIR_CORPUS, BeirTable, corpus_of, text_file
from conan_assets.data.clicks import examination, judge
from conan_assets.data.digests import Digest
from conan_assets.data.document_files import document_files, fingerprint_documents
from conan_assets.data.documents import read_documents
from conan_assets.data.examples import as_pairs, text_id
from conan_assets.data.files import fingerprint_content, open_folder
from conan_assets.data.personal_data import without_personal_data
from conan_assets.data.readers import read_table
from conan_assets.data.settings import PersonalData, QueryLogSource
from conan_assets.data.showings import log_files, once, read_log
from conan_assets.data.tables import PAIRS, TableError, check_table
from conan_assets.data.text import cleaned, comparison_key

logger = logging.getLogger("conan_assets")

SHOWN_POSITIONS = 10
PLACEHOLDERS = rf"\[({'|'.join(get_args(PersonalData))})\]"


def read_query_log(name: str, settings: QueryLogSource) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    """Return (corpus, pairs, report): positives of score 1 and negatives of score 0, by clicks.

    A query belongs to the slice of time in which it was asked first; what was logged of it in a later one is left out,
    so that nothing is trained on that came after the first dev or test query.

    Raises
    ------
    TableError
        The log or the corpus breaks its layout, or a split gets no query with a positive.
    """
    corpus, report = _corpus(name, settings)
    log = read_log(name, settings)
    searches, taken_out = _cleaned(log.searches, settings)
    if searches.is_empty():
        raise TableError(f"source {name}: no search of the log has a query; map its column in sources.{name}.columns")
    searches, cuts = _in_slices(searches, settings)
    found = _of_corpus(name, log.showings, corpus)
    showings = once(found)
    asked = searches.filter(pl.col("slice") == pl.col("split"))
    examined = _examination(name, settings, showings)
    judged = judge(
        showings.join(asked.select("search", "query"), on="search", maintain_order="left"), examined, settings
    )
    judged = judged.join(asked.select("query", "split").unique(), on="query").sort("split", "query", "doc_id")
    _refuse_empty_splits(name, settings, judged, asked)
    pairs = pl.concat([_pairs(name, split, rows) for (split,), rows in judged.group_by("split", maintain_order=True)])
    counted = {
        "searches": log.searches.height,
        "without_query": log.searches.height - searches.height,
        "asked_again_in_a_later_slice": searches.height - asked.height,
        "shown_but_not_in_the_corpus": log.showings.height - found.height,
        **log.report,
        **cuts,
    }
    logger.info("source %s: %s", name, counted)
    told = {
        "query_log": [counted],
        "judged_by_clicks": _counts(judged),
        "position_bias": examined.head(SHOWN_POSITIONS).to_dicts(),
        "personal_data_taken_out_of_queries": taken_out,
    }
    report |= {about: [{"source": name, **row} for row in rows] for about, rows in told.items()}
    return corpus, check_table(pairs, PAIRS, f"source {name}"), report


def fingerprint_query_log(name: str, settings: QueryLogSource, digest: Digest) -> str:
    """Return a fingerprint of the content of the log and of the documents that were searched."""
    logged = {path.name: fingerprint_content(path, digest) for path in log_files(name, settings)}
    if settings.documents is not None:
        return fingerprint(logged, fingerprint_documents(name, settings.documents, digest))
    return fingerprint(logged, fingerprint_content(text_file(name, open_folder(name, settings.path), "corpus"), digest))


def query_log_splits(name: str, settings: QueryLogSource) -> set[str]:
    """Return the splits that a log is cut into; raise TableError where the log or the documents are not there."""
    log_files(name, settings)
    if settings.documents is not None:
        document_files(name, settings.documents)
    else:
        text_file(name, open_folder(name, settings.path), "corpus")
    held_out = {"dev": settings.dev_percent, "test": settings.test_percent}
    return {"train", *(split for split, percent in held_out.items() if percent)}


def _corpus(name: str, settings: QueryLogSource) -> tuple[pl.DataFrame, dict[str, Any]]:
    if settings.documents is not None:
        return read_documents(name, settings.documents)
    path = text_file(name, open_folder(name, settings.path), "corpus")
    rows = read_table(path, BEIR_CORPUS, max_text_bytes=settings.max_text_bytes)
    return corpus_of(name, BeirTable(rows, str(path))), {}


def _cleaned(searches: pl.DataFrame, settings: QueryLogSource) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    """Return the searches whose query says something, without personal data, and how much of that there was."""
    spaced = searches.with_columns(query=cleaned(pl.col("query").fill_null("")))
    spaced, taken_out = without_personal_data(spaced, settings.personal_data, "query")
    spaced = spaced.with_columns(pl.col("query").str.replace_all(r"\s+", " ").str.strip_chars())
    said = pl.col("query").str.replace_all(PLACEHOLDERS, "").str.strip_chars()
    return spaced.filter(said != ""), taken_out


def _in_slices(searches: pl.DataFrame, settings: QueryLogSource) -> tuple[pl.DataFrame, dict[str, str]]:
    """Return the searches with the ``slice`` of time that they are in and the ``split`` of their query, and the cuts.

    Queries that differ in case and width alone are in one split, for a test query must not be trained on in capitals.
    """
    times, size = searches["time"].sort(), searches.height
    tests = round(size * settings.test_percent / 100)
    devs = round(size * settings.dev_percent / 100)
    cuts = {"test": (tests, tests), "dev": (devs, tests + devs)}
    starts: dict[str, datetime] = {split: times[size - newest] for split, (own, newest) in cuts.items() if own}
    slices = pl.lit("train")
    for split in ("dev", "test"):
        if split in starts:
            slices = pl.when(pl.col("time") >= starts[split]).then(pl.lit(split)).otherwise(slices)
    first = pl.col("slice").sort_by("time").first().over(comparison_key(pl.col("query")))
    cut = searches.with_columns(slice=slices).with_columns(split=first)
    return cut, {f"{split}_from": start.isoformat() for split, start in starts.items()}


def _of_corpus(name: str, showings: pl.DataFrame, corpus: pl.DataFrame) -> pl.DataFrame:
    """Return the showings of documents that are in the corpus, by their ids there.

    A log may name a document by its own id, or with the name of the source before it, as an index of
    `corpus_embeddings` does. Logs outlive documents: some that they name are gone.

    Raises
    ------
    TableError
        The corpus has none of them.
    """
    known, own = corpus["doc_id"].implode(), pl.concat_str(pl.lit(f"{name}:"), "doc_id")
    doc_id = pl.when(own.is_in(known)).then(own).when(pl.col("doc_id").is_in(known)).then("doc_id")
    found = showings.with_columns(doc_id=doc_id).drop_nulls("doc_id")
    if found.is_empty():
        there = corpus["doc_id"][0].removeprefix(f"{name}:")
        raise TableError(
            f"source {name}: the corpus has none of the {showings['doc_id'].n_unique():,} documents that the log "
            f"shows, such as {showings['doc_id'][0]!r}; its ids are like {there!r}: write the same ids into both"
        )
    return found


def _examination(name: str, settings: QueryLogSource, showings: pl.DataFrame) -> pl.DataFrame:
    try:
        return examination(showings, settings.position_bias)
    except ValueError as error:
        raise TableError(f"source {name}: {error}; set sources.{name}.position_bias to a number") from None


def _refuse_empty_splits(name: str, settings: QueryLogSource, judged: pl.DataFrame, asked: pl.DataFrame) -> None:
    queries = dict(asked.group_by("split").agg(pl.col("query").n_unique()).iter_rows())
    for split in sorted(query_log_splits(name, settings)):
        if split not in judged["split"] and (settings.train or split != "train"):
            share = "" if split == "train" else f", or change sources.{name}.{split}_percent (0: no {split})"
            raise TableError(
                f"source {name}: none of the {queries.get(split, 0):,} queries that were first asked in the slice of "
                f"{split} has a document with min_clicks {settings.min_clicks} and min_click_rate "
                f"{settings.min_click_rate}: lower them, add older or newer files of the log{share}"
            )


def _pairs(name: str, split: str, judged: pl.DataFrame) -> pl.DataFrame:
    rows = judged.with_columns(text_id(f"{name}:q", "query").alias("query_id"), text=pl.lit(None, pl.String))
    return as_pairs(rows, name, "retrieval", split)


def _counts(judged: pl.DataFrame) -> list[dict[str, Any]]:
    positive = pl.col("score") > 0
    return (
        judged.group_by("split", maintain_order=True)
        .agg(queries=pl.col("query").n_unique(), positives=positive.sum(), negatives=(~positive).sum())
        .to_dicts()
    )
