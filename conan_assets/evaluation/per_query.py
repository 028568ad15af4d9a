"""Scores of single queries: what intervals, paired comparisons and the table of worst queries are computed from."""

from collections.abc import Mapping
from itertools import chain
from typing import Any

import polars as pl
import pytrec_eval
from datasets import Dataset
from mteb.abstasks.task_metadata import TaskMetadata

from conan_assets.evaluation.models import Run
from conan_assets.evaluation.mteb_privates import document_texts, query_texts
from conan_assets.evaluation.report import WorstQuery

FOUND_KEPT = 10
CHARS_KEPT = 200
ABOVE_KEPT = 3
WORST_PER_TASK = 5
CHARS_SHOWN = 120

SCHEMA: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "suite": pl.String,
    "task": pl.String,
    "part_of": pl.String,
    "subset": pl.String,
    "split": pl.String,
    "query_id": pl.String,
    "ndcg_at_10": pl.Float64,
    "map_at_1000": pl.Float64,
    "recall_at_100": pl.Float64,
    "mrr_at_10": pl.Float64,
    "rank": pl.Int64,
    "expected": pl.List(pl.String),
    "found": pl.List(pl.String),
    "query": pl.String,
    "expected_text": pl.String,
    "above_texts": pl.List(pl.String),
}
"""``rank``: that of the first relevant document, null where it is none of the best ten; ``expected``: ids of relevant
documents; ``found``: ids of the best documents found, best first. The texts are cut: the query, its first relevant
document, and the best documents found above the first that is relevant."""


def query_scores(run: Run, data: Mapping[str, Any], metadata: TaskMetadata, where: Mapping[str, str]) -> pl.DataFrame:
    """Return a row per query with its metrics and texts.

    Parameters
    ----------
    run
        What was found.
    data
        mteb's form of the split: ``corpus``, ``queries``, ``relevant_docs``.
    metadata
        Of the task.
    where
        Columns to add, such as subset and split.
    """
    qrels = data["relevant_docs"]
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "map_cut.1000", "recall.100"})
    rows: list[dict[str, Any]] = []
    for query_id, scores in evaluator.evaluate(run).items():
        expected = [document_id for document_id, score in qrels[query_id].items() if score > 0]
        # trec_eval breaks ties by document id, descending.
        ranked = sorted(run[query_id].items(), key=lambda hit: (hit[1], hit[0]), reverse=True)
        found = [document_id for document_id, _ in ranked[:FOUND_KEPT] if document_id]
        rank = next((rank for rank, document_id in enumerate(found, start=1) if document_id in expected), None)
        rows.append(
            {
                **where,
                "query_id": query_id,
                "ndcg_at_10": scores["ndcg_cut_10"],
                "map_at_1000": scores["map_cut_1000"],
                "recall_at_100": scores["recall_100"],
                "mrr_at_10": 1 / rank if rank else 0.0,
                "rank": rank,
                "expected": expected,
                "found": found,
            }
        )
    _add_texts(rows, data, metadata)
    return pl.DataFrame(rows, schema=SCHEMA)


def _add_texts(rows: list[dict[str, Any]], data: Mapping[str, Any], metadata: TaskMetadata) -> None:
    queries = dict(zip(data["queries"]["id"], query_texts(data["queries"], metadata), strict=True))
    expected = [next(iter(row["expected"]), None) for row in rows]
    above = [row["found"][: min((row["rank"] or FOUND_KEPT) - 1, ABOVE_KEPT)] for row in rows]
    documents = _texts_of(data["corpus"], {*expected, *chain(*above)})
    for row, relevant, wrong in zip(rows, expected, above, strict=True):
        row["query"] = queries[row["query_id"]][:CHARS_KEPT]
        row["expected_text"] = documents.get(relevant)
        row["above_texts"] = [documents[document_id] for document_id in wrong]


def _texts_of(corpus: Dataset, wanted: set[str | None]) -> dict[str | None, str]:
    positions = [position for position, document_id in enumerate(corpus["id"]) if document_id in wanted]
    shown = corpus.select(positions)
    return {key: text[:CHARS_KEPT] for key, text in zip(shown["id"], document_texts(shown), strict=True)}


def worst_queries(queries: pl.DataFrame) -> list[WorstQuery]:
    """Return the lowest nDCG@10 of every task and split, below 1, with the texts of the query and of two documents."""
    worst = (
        queries.filter(pl.col("ndcg_at_10") < 1)
        .sort("ndcg_at_10", "recall_at_100", "query_id")
        .group_by("suite", "task", "subset", "split", maintain_order=True)
        .head(WORST_PER_TASK)
    )
    return [_worst_query(row) for row in worst.iter_rows(named=True)]


def _worst_query(row: Mapping[str, Any]) -> WorstQuery:
    expected = row["expected_text"] or next(iter(row["expected"]), "nothing")
    above = [f"{rank}. {text[:CHARS_SHOWN]}" for rank, text in enumerate(row["above_texts"], start=1)]
    return WorstQuery(
        **{name: row[name] for name in ("suite", "task", "split", "query_id", "rank")},
        query=row["query"][:CHARS_SHOWN],
        ndcg_at_10=round(row["ndcg_at_10"], 3),
        recall_at_100=round(row["recall_at_100"], 3),
        expected=expected[:CHARS_SHOWN],
        instead=" ".join(above) or "nothing",
    )
