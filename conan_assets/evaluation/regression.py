"""Whether a checkpoint is worse than the model that was released before it, by more than chance."""

import json
import shutil
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from conan_assets.evaluation.intervals import bootstrap_interval
from conan_assets.evaluation.per_query import PER_QUERY
from conan_assets.evaluation.report import ScoreRow, parse

SCORES = "scores"
VALUES = "values.json"
LARGEST_DROP = 0.01
"""By how much a metric without scores per query may fall; values are from 0 to 1."""
QUERY = ("suite", "task", "subset", "split", "query_id")


class Scores(NamedTuple):
    """Scores of a model: a row per query and task with its metrics, and the rows of its report."""

    queries: pl.DataFrame
    rows: list[ScoreRow]


@dataclass(frozen=True)
class Regression:
    """How a checkpoint differs from a release on a split: the checkpoint minus the release, over ``queries`` of both.

    ``worse``: the whole 95 % interval ``low`` to ``high`` is below 0. Where there are no scores per query in common,
    there is no interval, ``queries`` is 0 and ``worse`` a drop by more than ``LARGEST_DROP``.
    """

    split: str
    difference: float
    low: float | None
    high: float | None
    queries: int
    worse: bool


def keep_scores(reports: Iterable[Path], rows: Sequence[ScoreRow], release: Path) -> None:
    """Keep a checkpoint's scores in its release, for the next one to be compared with: its ``rows``, and per query."""
    folder = release / SCORES
    folder.mkdir(exist_ok=True)
    for number, report in enumerate(reports):
        shutil.copyfile(report / PER_QUERY, folder / f"{number}_{PER_QUERY}")
    (folder / VALUES).write_text(json.dumps([asdict(row) for row in rows], ensure_ascii=False), encoding="utf-8")


def kept_scores(release: Path) -> Scores | None:
    """Return the scores that a release keeps, or None if it keeps none."""
    files = sorted((release / SCORES).glob("*.parquet"))
    values = release / SCORES / VALUES
    if not files or not values.exists():
        return None
    rows = parse(list[ScoreRow], json.loads(values.read_text(encoding="utf-8")), "the released model")
    return Scores(pl.concat(map(pl.read_parquet, files)), rows)


def compare_with_release(ours: Scores, released: Scores, suite: str, metric: str) -> list[Regression]:
    """Return how a checkpoint differs from a release on a suite, by split: the mean over its tasks, paired by query.

    A task made of parts counts once where the checkpoint has the metric of it as a whole, as when the best checkpoint
    is chosen: it is the mean over its parts.

    Parameters
    ----------
    ours, released
        Scores of both; queries and tasks that only one was scored on do not count.
    suite, metric
        What to compare: a suite's name and a metric such as ``"ndcg_at_10"``.
    """
    rows = [row for row in ours.rows if (row.suite, row.metric) == (suite, metric)]
    wholes = {row.task for row in rows}
    paired = _compare_queries(ours.queries.filter(suite=suite), released.queries, metric, wholes)
    done = {row.split for row in paired}
    counted = [row for row in rows if row.part_of not in wholes and row.split not in done]
    return [*paired, *_compare_values(counted, released.rows)]


def _compare_values(rows: Sequence[ScoreRow], released: Sequence[ScoreRow]) -> list[Regression]:
    """Compare the tasks' plain values: metrics such as ``cosine_spearman`` have none per query."""
    before = {row.measure: row.value for row in released}
    gains: dict[str, list[float]] = {}
    for row in rows:
        if row.measure in before:
            gains.setdefault(row.split, []).append(row.value - before[row.measure])
    means = {split: float(np.mean(values)) for split, values in gains.items()}
    return [Regression(split, mean, None, None, 0, mean < -LARGEST_DROP) for split, mean in means.items()]


def _compare_queries(
    scores: pl.DataFrame, released: pl.DataFrame, metric: str, wholes: Collection[str]
) -> list[Regression]:
    if metric not in scores.columns:
        return []
    is_part = pl.col("part_of").is_in(list(wholes))
    both = scores.select(*QUERY, ours=metric, counted_as=pl.when(is_part).then("part_of").otherwise("task"))
    both = both.join(released.select(*QUERY, theirs=metric), on=QUERY).sort(QUERY)
    both = both.with_columns(gain=pl.col("ours") - pl.col("theirs"))
    return [_regression(str(split), rows) for (split,), rows in both.group_by("split", maintain_order=True)]


def _regression(split: str, rows: pl.DataFrame) -> Regression:
    tasks = [task.partition_by("task") for task in rows.partition_by("counted_as", "subset")]
    parts = sum(len(task) for task in tasks)
    # The plain mean over all parts of what is weighted so is the mean over the tasks of the mean over their parts.
    gains = [part["gain"].to_numpy() * parts / (len(tasks) * len(task)) for task in tasks for part in task]
    low, high = bootstrap_interval(gains)
    return Regression(split, float(np.mean([part.mean() for part in gains])), low, high, rows.height, high < 0)
