"""Scores of single queries: what intervals, paired comparisons and the table of worst queries are computed from."""

from collections.abc import Mapping
from typing import Any

import polars as pl
import pytrec_eval

FOUND_KEPT = 10

SCHEMA: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "suite": pl.String,
    "task": pl.String,
    "subset": pl.String,
    "split": pl.String,
    "query_id": pl.String,
    "ndcg_at_10": pl.Float64,
    "map_at_1000": pl.Float64,
    "recall_at_100": pl.Float64,
    "mrr_at_10": pl.Float64,
    "expected": pl.List(pl.String),
    "found": pl.List(pl.String),
}
"""``expected``: ids of the relevant documents; ``found``: ids of the best documents found, best first."""


def query_scores(
    run: Mapping[str, Mapping[str, float]], qrels: Mapping[str, Mapping[str, int]], where: Mapping[str, str]
) -> pl.DataFrame:
    """Return a row per query with its metrics; ``where`` gives suite, task, subset and split."""
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "map_cut.1000", "recall.100"})
    rows: list[dict[str, Any]] = []
    for query_id, scores in evaluator.evaluate(run).items():
        expected = [document_id for document_id, score in qrels[query_id].items() if score > 0]
        # trec_eval breaks ties by document id, descending.
        ranked = sorted(run[query_id].items(), key=lambda hit: (hit[1], hit[0]), reverse=True)
        found = [document_id for document_id, _ in ranked[:FOUND_KEPT] if document_id]
        rows.append(
            {
                **where,
                "query_id": query_id,
                "ndcg_at_10": scores["ndcg_cut_10"],
                "map_at_1000": scores["map_cut_1000"],
                "recall_at_100": scores["recall_100"],
                "mrr_at_10": _reciprocal_rank(found, set(expected)),
                "expected": expected,
                "found": found,
            }
        )
    return pl.DataFrame(rows, schema=SCHEMA)


def _reciprocal_rank(found: list[str], expected: set[str]) -> float:
    return next((1 / rank for rank, document_id in enumerate(found, start=1) if document_id in expected), 0.0)
