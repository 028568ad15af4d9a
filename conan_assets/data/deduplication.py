"""Near-duplicate pairs, and queries that come close to a query of an evaluation set."""

from functools import partial

import polars as pl

from conan_assets.data.near_duplicates import character_shingles, document_shingles, near_pairs, representatives
from conan_assets.data.settings import NearDuplicateSettings
from conan_assets.data.tables import DOCUMENT_TEXT

SEPARATOR = "\x00"


def near_evaluation_queries(
    pairs: pl.DataFrame, evaluation_queries: pl.Series, settings: NearDuplicateSettings
) -> pl.Series:
    """Return the queries of ``pairs`` that are near-equal to one of ``evaluation_queries``."""
    queries = pairs["query"].unique(maintain_order=True)
    known = len(evaluation_queries)
    shingles = partial(character_shingles, size=settings.ngram)
    found = near_pairs(pl.concat([evaluation_queries, queries]), shingles, settings)
    near = sorted({later - known for earlier, later in found if earlier < known <= later})
    return queries.gather(near)


def document_texts(pairs: pl.DataFrame, corpus: pl.DataFrame) -> pl.DataFrame:
    """Return (document_key, passage), one row for each different document of ``pairs``."""
    return (
        pairs.lazy()
        .unique("document_key", keep="first", maintain_order=True)
        .select("document_key", "doc_id", "text")
        .join(corpus.lazy().select("doc_id", passage=DOCUMENT_TEXT), on="doc_id", how="left", maintain_order="left")
        .select("document_key", passage=pl.coalesce("passage", "text", pl.lit("")))
        .collect()
    )


def near_duplicate_pairs(pairs: pl.DataFrame, corpus: pl.DataFrame, settings: NearDuplicateSettings) -> pl.Series:
    """Return the ``pair_id`` of every pair with an earlier one of near-equal query and near-equal document.

    Two different queries of one document are no duplicates, nor is one query with two documents, however near: each
    is a label of its own.

    Parameters
    ----------
    pairs
        PAIRS with ``query_key`` and ``document_key``, equal for equal texts.
    corpus
        CORPUS that the pairs point into.
    settings
        Threshold, n-grams and signatures.
    """
    crowded = _with_document_groups(pairs, corpus, settings).filter(pl.len().over("task", "group") > 1)
    texts = crowded.select(pl.concat_str("task", "group", "query", separator=SEPARATOR))["task"]
    kept_for = pl.Series(representatives(texts, partial(_shingles_in_group, size=settings.ngram), settings))
    is_other_query = crowded["query_key"] != crowded["query_key"].gather(kept_for)
    return crowded.filter(is_other_query)["pair_id"]


def _with_document_groups(pairs: pl.DataFrame, corpus: pl.DataFrame, settings: NearDuplicateSettings) -> pl.DataFrame:
    """Add ``group``, the same number for pairs whose documents are near-equal."""
    documents = document_texts(pairs, corpus)
    groups = representatives(documents["passage"], partial(document_shingles, size=settings.ngram), settings)
    numbered = documents.select("document_key", group=pl.Series(groups))
    return pairs.join(numbered, on="document_key", how="left", maintain_order="left")


def _shingles_in_group(text: str, size: int) -> set[str]:
    """Return the n-grams of a query, marked with its group: queries of different groups have none in common."""
    task, group, query = text.split(SEPARATOR, 2)
    return {f"{task}{SEPARATOR}{group}{SEPARATOR}{shingle}" for shingle in character_shingles(query, size)}
