"""Near-duplicate pairs, and queries that come close to a query of an evaluation set."""

from collections.abc import Sequence
from functools import partial

import polars as pl

from conan_assets.data.near_duplicates import character_shingles, document_shingles, near_pairs, representatives
from conan_assets.data.settings import NearDuplicateSettings
from conan_assets.data.tables import DOCUMENT_TEXT

SEPARATOR = "\x00"


def near_evaluation_queries(
    pairs: pl.DataFrame, evaluation_queries: Sequence[str], settings: NearDuplicateSettings
) -> pl.Series:
    """Return the queries of ``pairs`` that are near-equal to one of ``evaluation_queries``."""
    queries = pairs["query"].unique(maintain_order=True).to_list()
    known = len(evaluation_queries)
    shingles = partial(character_shingles, size=settings.ngram)
    found = near_pairs([*evaluation_queries, *queries], shingles, settings)
    near = {queries[later - known] for earlier, later in found if earlier < known <= later}
    return pl.Series("query", sorted(near), dtype=pl.String)


def near_duplicate_pairs(pairs: pl.DataFrame, corpus: pl.DataFrame, settings: NearDuplicateSettings) -> pl.Series:
    """Return the ``pair_id`` of every pair with an earlier one of near-equal query and near-equal document.

    Two different queries of one document, and one query of two different documents, are no duplicates.
    """
    crowded = _with_document_groups(pairs, corpus, settings).filter(pl.len().over("task", "group") > 1)
    texts = crowded.select(pl.concat_str("task", "group", "query", separator=SEPARATOR))["task"].to_list()
    kept_for = pl.Series(representatives(texts, partial(_shingles_in_group, size=settings.ngram), settings))
    return crowded.filter(kept_for != pl.int_range(crowded.height, eager=True))["pair_id"]


def _with_document_groups(pairs: pl.DataFrame, corpus: pl.DataFrame, settings: NearDuplicateSettings) -> pl.DataFrame:
    """Add ``group``, the same number for pairs whose documents are near-equal."""
    documents = corpus.lazy().join(pairs.lazy().select("doc_id").unique(), on="doc_id", how="semi")
    passages = documents.select("doc_id", passage=DOCUMENT_TEXT).collect()
    joined = pairs.join(passages, on="doc_id", how="left", maintain_order="left").with_columns(
        passage=pl.coalesce("passage", "text")
    )
    texts = joined["passage"].unique(maintain_order=True)
    groups = representatives(texts.to_list(), partial(document_shingles, size=settings.ngram), settings)
    numbered = pl.DataFrame({"passage": texts, "group": groups})
    return joined.join(numbered, on="passage", how="left", maintain_order="left", nulls_equal=True).drop("passage")


def _shingles_in_group(text: str, size: int) -> set[str]:
    """Return the n-grams of a query, marked with its group: queries of different groups have none in common."""
    task, group, query = text.split(SEPARATOR, 2)
    return {f"{task}{SEPARATOR}{group}{SEPARATOR}{shingle}" for shingle in character_shingles(query, size)}
