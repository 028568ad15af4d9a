"""Pairs that say what an earlier pair says: the same two texts, or nearly the same."""

import numpy as np
import polars as pl

from conan_assets.compute import Compute
from conan_assets.data.curation_settings import NearDuplicateSettings
from conan_assets.data.judged import JudgedPairs
from conan_assets.data.near_duplicates import ComparedTexts, representatives
from conan_assets.data.shingles import characters, words

COMPARED_WITHIN = (
    pl.col("task"),
    pl.when(pl.col("task") == "classification").then(pl.col("dataset").to_physical()).alias("labels"),
)
"""Pairs of one task are compared, whatever their datasets; a label means something in its own dataset alone."""


def duplicates(judged: JudgedPairs) -> pl.Series:
    """Return the ``row`` of every pair whose two texts an earlier pair of its task has, in any dataset."""
    pairs = judged.left("duplicate", "row", "dataset", "task", "query_key", "document_key")
    repeated = pl.struct(*COMPARED_WITHIN, "query_key", "document_key").is_first_distinct().not_()
    return pairs.filter(repeated)["row"]


def near_duplicates(judged: JudgedPairs, settings: NearDuplicateSettings, compute: Compute) -> pl.Series:
    """Return the ``row`` of every pair with an earlier one of near-equal query and near-equal document.

    Two different queries of one document are no duplicates, nor is one query with two documents, however near: each
    is a label of its own.
    """
    pairs = _with_document_groups(judged, settings, compute)
    crowded = pairs.filter(pl.len().over(*COMPARED_WITHIN, "group") > 1)
    salts = crowded.select(pl.struct(*COMPARED_WITHIN, "group").hash()).to_series().to_numpy()
    queries = ComparedTexts(judged.queries, crowded["row"].to_numpy(), characters, salts, compute)
    kept_for = representatives(queries, settings)
    is_other_query = crowded["query_key"] != crowded["query_key"].gather(kept_for)
    return crowded.filter(is_other_query)["row"]


def _with_document_groups(judged: JudgedPairs, settings: NearDuplicateSettings, compute: Compute) -> pl.DataFrame:
    """Return the pairs still left with ``group``, the same number for pairs whose documents are near-equal."""
    pairs = judged.left("near_duplicate", "row", "task", "dataset", "query_key", "document_key", "document")
    different = pairs.select(pl.col("document_key", "document").filter(pl.col("document_key").is_first_distinct()))
    documents = ComparedTexts(judged.passages, different["document"].to_numpy(), words, compute=compute)
    groups = pl.Series(representatives(documents, settings).astype(np.uint32))
    numbered = different.select("document_key", group=groups)
    return pairs.drop("document").join(numbered, on="document_key", how="left", maintain_order="left")
