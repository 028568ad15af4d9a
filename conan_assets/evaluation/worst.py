"""The queries a model does worst on: what was expected, what came instead."""

from typing import Any

import polars as pl

SHOWN_PER_TASK = 5
SHOWN_CHARS = 120


def worst_queries(queries: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the lowest nDCG@10 of every task and split, below 1, with the texts of the query and of two documents."""
    worst = (
        queries.filter(pl.col("ndcg_at_10") < 1)
        .sort("ndcg_at_10", "recall_at_100", "query_id")
        .group_by("suite", "task", "subset", "split", maintain_order=True)
        .head(SHOWN_PER_TASK)
    )
    return worst.select(
        "suite",
        "task",
        "split",
        pl.col("query").str.slice(0, SHOWN_CHARS),
        pl.col("ndcg_at_10").round(3),
        pl.col("recall_at_100").round(3),
        expected=pl.coalesce("expected_text", pl.col("expected").list.first(), pl.lit("nothing")).str.slice(
            0, SHOWN_CHARS
        ),
        instead=pl.col("instead_text").fill_null("nothing").str.slice(0, SHOWN_CHARS),
    ).to_dicts()
