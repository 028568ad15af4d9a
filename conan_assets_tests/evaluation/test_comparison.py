"""How a checkpoint differs from another model: what counts once, and what counts at all."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from conan_assets.evaluation.choice import choose
from conan_assets.evaluation.comparison import Scores, compare
from conan_assets.evaluation.report import EvaluationReport, LeaderboardEntry, ScoreRow

PARTS = {f"forum {number}": "forums" for number in range(12)}
TASKS = [f"task {number}" for number in range(3)]
QUERIES = 40
REPORT = EvaluationReport(
    model="any", checkpoint_fingerprint="any", rows=[], mteb_version="2", seconds=0.0, texts_encoded=0
)


def scored(of_parts: float, of_tasks: float, of_whole: float | None = None, metric: str = "ndcg_at_10") -> Scores:
    """Return scores on a task of twelve parts and on three others, whose queries are as hard for every model."""
    rows, queries = [], []
    for number, (task, part_of) in enumerate((PARTS | dict.fromkeys(TASKS)).items()):
        hardness = np.random.default_rng(number).uniform(0.2, 0.6, QUERIES)
        values = hardness + (of_parts if part_of else of_tasks)
        place = {"suite": "beir", "task": task, "part_of": part_of, "subset": "default", "split": "test"}
        rows.append(ScoreRow(**place, type="Retrieval", metric=metric, value=values.mean(), main=True, queries=QUERIES))
        queries += [{**place, "query_id": f"q{query}", "ndcg_at_10": value} for query, value in enumerate(values)]
    if of_whole is not None:
        rows.append(replace(rows[0], task="forums", part_of=None, value=of_whole))
    return Scores(pl.DataFrame(queries, schema_overrides={"part_of": pl.String}), rows)


def chosen(models: Mapping[str, Scores]) -> str:
    entries = [
        LeaderboardEntry(f"round_{number}", name, replace(REPORT, rows=scores.rows))
        for number, (name, scores) in enumerate(models.items())
    ]
    return choose(entries, "beir", "test", "ndcg_at_10").best.model


def test_a_task_made_of_parts_counts_once_as_it_does_when_the_best_checkpoint_is_chosen():
    old, new = scored(0.06, 0.0, of_whole=0.46), scored(0.0, 0.03, of_whole=0.4)
    assert chosen({"old": old, "new": new}) == "new"
    (row,) = compare(new, old, "beir", "ndcg_at_10")
    assert row.difference == pytest.approx((3 * 0.03 - 0.06) / 4)
    assert (row.low, row.high) == pytest.approx((row.difference,) * 2), "every query of a task gains the same"
    assert (row.worse, row.queries) == (False, 15 * QUERIES)


def test_parts_count_each_where_no_model_has_the_metric_of_the_whole():
    old, new = scored(0.06, 0.0), scored(0.0, 0.03)
    assert chosen({"old": old, "new": new}) == "old"
    (row,) = compare(new, old, "beir", "ndcg_at_10")
    assert row.difference == pytest.approx((3 * 0.03 - 12 * 0.06) / 15)
    assert row.worse


def test_the_interval_weighs_parts_by_their_task_and_not_by_their_number():
    old, new = scored(0.0, 0.0, of_whole=0.4), scored(0.0, 0.0, of_whole=0.4)
    noise = np.random.default_rng(7).normal(0, 0.1, 15 * QUERIES)
    noisy = new.queries.with_columns(pl.col("ndcg_at_10") + pl.Series(noise))
    (row,) = compare(Scores(noisy, new.rows), old, "beir", "ndcg_at_10")
    deviation = 0.1 / np.sqrt(QUERIES) * np.sqrt(3 + 1 / 12) / 4
    assert row.high - row.low == pytest.approx(2 * 1.96 * deviation, rel=0.15)
    assert row.low < row.difference < row.high


@pytest.mark.parametrize(
    ("of_whole", "difference"), [(0.42, (3 * 0.03 + 0.02) / 4), (None, (3 * 0.03 - 12 * 0.06) / 15)]
)
def test_plain_values_of_parts_count_where_there_is_none_of_the_whole(of_whole: float | None, difference: float):
    old = scored(0.06, 0.0, of_whole=0.4, metric="cosine_spearman")
    new = scored(0.0, 0.03, of_whole=of_whole, metric="cosine_spearman")
    (row,) = compare(new, old, "beir", "cosine_spearman")
    assert row.difference == pytest.approx(difference)
    assert (row.low, row.high, row.queries) == (None, None, 0)


def test_queries_and_tasks_of_one_model_alone_do_not_count():
    old, new = scored(0.0, 0.0, of_whole=0.4), scored(0.01, 0.01, of_whole=0.4)
    fewer = old.queries.filter((pl.col("task") != "task 0") & (pl.col("query_id") != "q0"))
    (row,) = compare(new, Scores(fewer, old.rows), "beir", "ndcg_at_10")
    assert (row.difference, row.queries) == (pytest.approx(0.01), 14 * (QUERIES - 1))


def test_the_verdict_on_a_release_imports_nothing_heavy():
    heavy = ("torch", "mteb", "datasets", "matplotlib", "sentence_transformers")
    code = "import sys, conan_assets.evaluation.choice; print([name for name in sys.argv[1:] if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
