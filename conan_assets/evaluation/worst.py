"""The queries a model does worst on: what was expected, what came instead."""

from typing import Any

import polars as pl

from conan_assets.data.tables import DOCUMENT_TEXT

SHOWN_PER_TASK = 5
SHOWN_CHARS = 120


def worst_queries(queries: pl.DataFrame, corpus: pl.DataFrame, pairs: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the lowest nDCG@10 of every task and split with the texts of the query and of two documents.

    Documents and queries of hub tasks stand in no table of ours and are shown by id.
    """
    worst = (
        queries.sort("ndcg_at_10", "recall_at_100", "query_id")
        .group_by("suite", "task", "subset", "split", maintain_order=True)
        .head(SHOWN_PER_TASK)
        .with_columns(expected=pl.col("expected").list.first(), found=pl.col("found").list.first())
    )
    query_text = pairs.unique("query_id", keep="first", maintain_order=True).select("query_id", "query")
    document_text = corpus.select("doc_id", document=DOCUMENT_TEXT)
    shown = worst.join(query_text, on="query_id", how="left", maintain_order="left")
    for column in ("expected", "found"):
        shown = shown.join(document_text, left_on=column, right_on="doc_id", how="left", maintain_order="left")
        shown = shown.with_columns(pl.col("document").fill_null(pl.col(column)).alias(column)).drop("document")
    return shown.select(
        "suite",
        "task",
        "split",
        pl.col("query").fill_null(pl.col("query_id")).str.slice(0, SHOWN_CHARS),
        pl.col("ndcg_at_10").round(3),
        pl.col("recall_at_100").round(3),
        pl.col("expected").str.slice(0, SHOWN_CHARS),
        pl.col("found").fill_null("nothing").str.slice(0, SHOWN_CHARS),
    ).to_dicts()
