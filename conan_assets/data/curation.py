"""Training pairs out of natural and generated ones: normalised, filtered, deduplicated, decontaminated, counted.

Every pair is looked at once, and the first of the steps below that it fails is the reason it is removed for:

1. ``judged_irrelevant``: a retrieval pair with a score of 0 is no positive.
2. ``query_too_short`` ... ``document_too_long``: the length limits of the settings.
3. ``too_many_symbols``, ``repetitive``: its document is no prose.
4. ``blocked_pattern``: one of the patterns to keep out matches on either side.
5. ``query_equals_document``: nothing to learn from.
6. ``evaluation_query``: its query is a query of an evaluation set.
7. ``evaluation_pair``: its two texts are a judged pair of a dev or test split, in either order.
8. ``duplicate``: an earlier pair has the same two texts.
9. ``other_language``: its document is not in the language of its source.
10. ``near_evaluation_query``: its query is nearly a query of an evaluation set.
11. ``near_duplicate``: an earlier pair has nearly the same two texts.

Texts are compared in Unicode NFKC, lower case, white space collapsed.
"""

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from conan_assets.data.deduplication import near_duplicate_pairs, near_evaluation_queries
from conan_assets.data.language import pairs_in_other_languages
from conan_assets.data.settings import CurationSettings, NearDuplicateSettings
from conan_assets.data.tables import DOCUMENT_TEXT, PAIRS, TableError, check_table
from conan_assets.data.text import cleaned, comparison_key

logger = logging.getLogger("conan_assets")

REASONS = (
    "judged_irrelevant",
    "query_too_short",
    "query_too_long",
    "document_too_short",
    "document_too_long",
    "too_many_symbols",
    "repetitive",
    "blocked_pattern",
    "query_equals_document",
    "evaluation_query",
    "evaluation_pair",
    "duplicate",
    "other_language",
    "near_evaluation_query",
    "near_duplicate",
)
"""The reasons in the order in which they are looked for."""

EXAMPLE_CHARS = 160
MIN_WORDS_TO_REPEAT = 50


def curate(
    raw_pairs: pl.DataFrame,
    prompt_response_pairs: pl.DataFrame,
    corpus: pl.DataFrame,
    evaluation_queries: Iterable[str],
    settings: CurationSettings,
    languages: Mapping[str, str] | None = None,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return (training pairs, report) of all train pairs of ``raw_pairs`` and all ``prompt_response_pairs``.

    Parameters
    ----------
    raw_pairs
        PAIRS of every split; the dev and test splits are what the training pairs are decontaminated against.
    prompt_response_pairs
        PAIRS written by a generator; may be empty.
    corpus
        CORPUS that the pairs' ``doc_id`` point into.
    evaluation_queries
        Queries of further evaluation sets, such as hub benchmarks.
    settings
        Limits, thresholds, and how many rejected pairs to show.
    languages
        ISO 639-1 code by dataset, of the datasets whose documents must be in that language.

    Returns
    -------
    tuple
        PAIRS with ``split`` train, and a report with the number of rows in and out, a table of what each step
        removed, tables by origin and dataset, and rejected examples.

    Raises
    ------
    TableError
        A pair points to a document that the corpus lacks, or no pair is left.
    """
    started = time.monotonic()
    documents = _document_keys(corpus, settings)
    train = pl.concat([raw_pairs.filter(pl.col("split") == "train"), prompt_response_pairs.select(*PAIRS.columns)])
    _check_documents(train, documents)
    held_out = raw_pairs.filter(pl.col("split") != "train")
    sentences = held_out.filter(pl.col("task") == "sts")["text"].rename("query").drop_nulls()
    further = pl.Series("query", list(evaluation_queries), dtype=pl.String)
    queries = pl.concat([held_out["query"], sentences, further]).unique()
    evaluation = _with_keys(held_out.lazy(), documents, settings)
    judged = _with_reasons(_with_keys(train.lazy(), documents, settings), evaluation, queries, settings).collect()
    if languages:
        judged = _remove(judged, "other_language", pairs_in_other_languages(_compared(judged), corpus, languages))
    if settings.near_duplicates:
        judged = _with_near_reasons(judged, queries, corpus, settings.near_duplicates)
    kept = judged.filter(pl.col("reason").is_null())
    if not kept.height:
        raise TableError(
            f"none of {train.height:,} train pairs is left after curation: {_counts(judged)}; "
            "loosen the limits under `curation`, or give a source that trains"
        )
    pairs = check_table(_with_one_id_per_query(kept).select(*PAIRS.columns), PAIRS, "training pairs")
    report = _report(judged, pairs, settings) | {"seconds": round(time.monotonic() - started, 2)}
    logger.info("training pairs: %s of %s kept; removed %s", f"{pairs.height:,}", f"{judged.height:,}", _counts(judged))
    return pairs, report


def _measures(text: pl.Expr, settings: CurationSettings) -> dict[str, pl.Expr]:
    """Return what the steps need to know of a document, instead of its text: the joins stay small."""
    words = text.str.split(" ")
    repeats = (words.list.len() >= MIN_WORDS_TO_REPEAT) & (
        words.list.n_unique() < settings.min_distinct_word_share * words.list.len()
    )
    symbols = text.str.count_matches(r"[^\p{L}\p{M}\p{N}\s]")
    return {
        "document_key": comparison_key(text).hash(),
        "document_chars": cleaned(text).str.len_chars(),
        "too_many_symbols": symbols > settings.max_symbol_share * text.str.len_chars(),
        "repetitive": repeats,
        "blocked": _matches(text, settings),
    }


def _matches(text: pl.Expr, settings: CurationSettings) -> pl.Expr:
    return pl.any_horizontal(pl.lit(False), *(text.str.contains(pattern) for pattern in settings.blocked_patterns))


def _document_keys(corpus: pl.DataFrame, settings: CurationSettings) -> pl.LazyFrame:
    return corpus.lazy().select("doc_id", **_measures(DOCUMENT_TEXT, settings))


def _check_documents(pairs: pl.DataFrame, documents: pl.LazyFrame) -> None:
    known = documents.select("doc_id").collect()
    unknown = pairs.filter(pl.col("doc_id").is_not_null()).join(known, on="doc_id", how="anti").head(1)
    for pair_id, doc_id in unknown.select("pair_id", "doc_id").iter_rows():
        raise TableError(f"pair {pair_id!r} points to the document {doc_id!r}, which the corpus lacks; load its source")


def _with_keys(pairs: pl.LazyFrame, documents: pl.LazyFrame, settings: CurationSettings) -> pl.LazyFrame:
    """Clean the texts of ``pairs``; add the measures of the documents, a key of the query and one of the pair."""
    joined = pairs.with_columns(query=cleaned(pl.col("query")), text=cleaned(pl.col("text"))).join(
        documents, on="doc_id", how="left", maintain_order="left"
    )
    own = _measures(pl.col("text").fill_null(""), settings)
    return joined.with_columns(
        query_key=comparison_key(pl.col("query")).hash(), **{name: pl.coalesce(name, own[name]) for name in own}
    ).with_columns(
        pair_key=pl.struct(
            low=pl.min_horizontal("query_key", "document_key"), high=pl.max_horizontal("query_key", "document_key")
        ).hash()
    )


def _with_reasons(
    pairs: pl.LazyFrame, evaluation: pl.LazyFrame, queries: pl.Series, settings: CurationSettings
) -> pl.LazyFrame:
    """Add ``reason``: null for a pair to keep, else the first of REASONS that holds."""
    query_keys = pl.LazyFrame({"query": queries}).select(query_key=comparison_key(cleaned(pl.col("query"))).hash())
    is_retrieval = pl.col("task") == "retrieval"
    has_document = pl.col("task") != "classification"
    query_chars, document_chars = pl.col("query").str.len_chars(), pl.col("document_chars")
    broken = {
        "judged_irrelevant": is_retrieval & (pl.col("score").fill_null(1.0) <= 0),
        "query_too_short": query_chars < settings.min_query_chars,
        "query_too_long": query_chars > settings.max_query_chars,
        "document_too_short": has_document & (document_chars < settings.min_document_chars),
        "document_too_long": has_document & (document_chars > settings.max_document_chars),
        "too_many_symbols": has_document & pl.col("too_many_symbols"),
        "repetitive": has_document & pl.col("repetitive"),
        "blocked_pattern": pl.col("blocked") | _matches(pl.col("query"), settings),
        "query_equals_document": is_retrieval & (pl.col("query_key") == pl.col("document_key")),
        "evaluation_query": pl.col("asked_in_evaluation").is_not_null(),
        "evaluation_pair": pl.col("judged_in_evaluation").is_not_null(),
    }
    reason = pl.coalesce(pl.when(condition).then(pl.lit(name)) for name, condition in broken.items())
    repeated = (
        pl.col("reason").is_null()
        & pl.struct("dataset", "task", "query_key", "document_key", "reason").is_first_distinct().not_()
    )
    return (
        pairs.join(
            _flags(query_keys, "query_key", "asked_in_evaluation"), on="query_key", how="left", maintain_order="left"
        )
        .join(_flags(evaluation, "pair_key", "judged_in_evaluation"), on="pair_key", how="left", maintain_order="left")
        .with_columns(reason=reason)
        .with_columns(reason=pl.when(repeated).then(pl.lit("duplicate")).otherwise(pl.col("reason")))
        .select(*PAIRS.columns, "query_key", "document_key", "reason")
    )


def _with_near_reasons(
    judged: pl.DataFrame, queries: pl.Series, corpus: pl.DataFrame, settings: NearDuplicateSettings
) -> pl.DataFrame:
    """Add the reasons that take a comparison of texts with texts, to the pairs that have none so far."""
    near_evaluation = near_evaluation_queries(_compared(judged), queries, settings)
    judged = _remove(judged, "near_evaluation_query", near_evaluation, by="query")
    return _remove(judged, "near_duplicate", near_duplicate_pairs(_compared(judged), corpus, settings))


def _compared(judged: pl.DataFrame) -> pl.DataFrame:
    """Return what a comparison of texts needs of the pairs that are not removed so far."""
    columns = ("pair_id", "task", "dataset", "query", "doc_id", "text", "query_key", "document_key")
    return judged.lazy().filter(pl.col("reason").is_null()).select(columns).collect()


def _remove(judged: pl.DataFrame, reason: str, values: pl.Series, by: str = "pair_id") -> pl.DataFrame:
    """Set the reason of the pairs not removed so far whose column ``by`` is among ``values``."""
    removed = pl.col("reason").is_null() & pl.col(by).is_in(values.implode())
    return judged.with_columns(reason=pl.when(removed).then(pl.lit(reason)).otherwise(pl.col("reason")))


def _flags(frame: pl.LazyFrame, key: str, name: str) -> pl.LazyFrame:
    return frame.select(key).unique().with_columns(pl.lit(True).alias(name))


def _with_one_id_per_query(pairs: pl.DataFrame) -> pl.DataFrame:
    """Give queries of one dataset with equal text the id of the first, so that each knows the other's positives."""
    return pairs.with_columns(query_id=pl.col("query_id").first().over("dataset", "task", "query_key"))


def _counts(judged: pl.DataFrame) -> dict[str, int]:
    return dict(judged.drop_nulls("reason").group_by("reason").len().sort("reason").iter_rows())


def _report(judged: pl.DataFrame, pairs: pl.DataFrame, settings: CurationSettings) -> dict[str, Any]:
    counts, remaining, steps = _counts(judged), judged.height, []
    for reason in REASONS:
        removed = counts.get(reason, 0)
        remaining -= removed
        steps.append({"step": reason, "removed": removed, "remaining": remaining})
    return {
        "rows_in": judged.height,
        "rows_out": pairs.height,
        "queries": pairs["query_id"].n_unique(),
        "removed": sum(counts.values()),
        "removed_by_reason": steps,
        "kept_by_dataset": pairs.group_by("dataset", "task", "origin")
        .len("pairs")
        .sort("dataset", "task", "origin")
        .to_dicts(),
        "rejected_examples": _examples(judged, settings.examples_per_reason),
    }


def _examples(judged: pl.DataFrame, per_reason: int) -> list[dict[str, Any]]:
    shown = judged.drop_nulls("reason").group_by("reason", maintain_order=True).head(per_reason)
    return shown.select(
        "reason", "pair_id", "origin", "query_id", pl.col("query").str.slice(0, EXAMPLE_CHARS), "doc_id"
    ).to_dicts()
