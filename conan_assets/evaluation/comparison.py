"""How a checkpoint differs from another model, the base model or the release before it, and whether by chance."""

import json
import shutil
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from conan_assets.evaluation.intervals import bootstrap_interval
from conan_assets.evaluation.report import LeaderboardEntry, ScoreRow, parse

SCORES = "scores"
VALUES = "values.json"
LARGEST_DROP = 0.01
"""By how much a metric without scores per query may fall; values are from 0 to 1."""
QUERY = ("suite", "task", "subset", "split", "query_id")


class Scores(NamedTuple):
    """Scores of a model: a row per query and task with its metrics, and the rows of its report."""

    queries: pl.DataFrame
    rows: list[ScoreRow]

    @classmethod
    def of(cls, entry: LeaderboardEntry) -> "Scores":
        """Return the scores of a model of the leaderboard."""
        return cls(_read(entry.per_query), entry.report.rows)


@dataclass(frozen=True)
class Comparison:
    """How a checkpoint differs from another model on a split: the checkpoint minus the other, over ``queries`` of both.

    ``worse``: the whole 95 % interval ``low`` to ``high`` is below 0. Where there are no scores per query in common,
    there is no interval, ``queries`` is 0 and ``worse`` a drop by more than ``LARGEST_DROP``.
    """

    split: str
    difference: float
    low: float | None
    high: float | None
    queries: int
    worse: bool


def keep_scores(best: LeaderboardEntry, release: Path) -> None:
    """Keep a checkpoint's scores in its release, for the next one to be compared with: its rows, and per query."""
    folder = release / SCORES
    folder.mkdir(exist_ok=True)
    for number, file in enumerate(best.per_query):
        shutil.copyfile(file, folder / f"{number}_{file.name}")
    rows = [asdict(row) for row in best.report.rows]
    (folder / VALUES).write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")


def kept_scores(release: Path) -> Scores | None:
    """Return the scores that a release keeps, or None if it keeps none."""
    files = sorted((release / SCORES).glob("*.parquet"))
    values = release / SCORES / VALUES
    if not files or not values.exists():
        return None
    rows = parse(list[ScoreRow], json.loads(values.read_text(encoding="utf-8")), "the released model")
    return Scores(_read(files), rows)


def _read(files: Sequence[Path]) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(file) for file in files]) if files else pl.DataFrame()


def compare(ours: Scores, theirs: Scores, suite: str, metric: str) -> list[Comparison]:
    """Return how a checkpoint differs from another model on a suite, by split: the mean over tasks, paired by query.

    A task made of parts counts once where the checkpoint has the metric of it as a whole, as when the best checkpoint
    is chosen: it is the mean over its parts.

    Parameters
    ----------
    ours, theirs
        Scores of both; queries and tasks that only one was scored on do not count.
    suite, metric
        What to compare: a suite's name and a metric such as ``"ndcg_at_10"``.
    """
    rows = [row for row in ours.rows if (row.suite, row.metric) == (suite, metric)]
    wholes = {row.task for row in rows}
    of_both = metric in ours.queries.columns and metric in theirs.queries.columns
    paired = _compare_queries(ours.queries.filter(suite=suite), theirs.queries, metric, wholes) if of_both else []
    done = {row.split for row in paired}
    counted = [row for row in rows if row.part_of not in wholes and row.split not in done]
    return [*paired, *_compare_values(counted, theirs.rows)]


def _compare_values(rows: Sequence[ScoreRow], theirs: Sequence[ScoreRow]) -> list[Comparison]:
    """Compare the tasks' plain values: metrics such as ``cosine_spearman`` have none per query."""
    before = {row.measure: row.value for row in theirs}
    gains: dict[str, list[float]] = {}
    for row in rows:
        if row.measure in before:
            gains.setdefault(row.split, []).append(row.value - before[row.measure])
    means = {split: float(np.mean(values)) for split, values in gains.items()}
    return [Comparison(split, mean, None, None, 0, mean < -LARGEST_DROP) for split, mean in means.items()]


def _compare_queries(
    scores: pl.DataFrame, others: pl.DataFrame, metric: str, wholes: Collection[str]
) -> list[Comparison]:
    is_part = pl.col("part_of").is_in(list(wholes))
    both = scores.select(*QUERY, ours=metric, counted_as=pl.when(is_part).then("part_of").otherwise("task"))
    both = both.join(others.select(*QUERY, theirs=metric), on=QUERY).sort(QUERY)
    both = both.with_columns(gain=pl.col("ours") - pl.col("theirs"))
    return [_comparison(str(split), rows) for (split,), rows in both.group_by("split", maintain_order=True)]


def _comparison(split: str, rows: pl.DataFrame) -> Comparison:
    tasks = [task.partition_by("task") for task in rows.partition_by("counted_as", "subset")]
    parts = sum(len(task) for task in tasks)
    # The plain mean over all parts of what is weighted so is the mean over the tasks of the mean over their parts.
    gains = [part["gain"].to_numpy() * parts / (len(tasks) * len(task)) for task in tasks for part in task]
    low, high = bootstrap_interval(gains)
    return Comparison(split, float(np.mean([part.mean() for part in gains])), low, high, rows.height, high < 0)
