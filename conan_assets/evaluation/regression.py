"""Whether a checkpoint is worse than the model that was released before it, by more than chance."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from conan_assets.evaluation.intervals import bootstrap_interval
from conan_assets.evaluation.run import PER_QUERY

SCORES = "scores"
QUERY = ("suite", "task", "subset", "split", "query_id")


def keep_scores(reports: Iterable[Path], release: Path) -> None:
    """Copy the scores per query of a checkpoint's reports into its release, for the next one to be compared with."""
    folder = release / SCORES
    folder.mkdir(exist_ok=True)
    for number, report in enumerate(reports):
        shutil.copyfile(report / PER_QUERY, folder / f"{number}_{PER_QUERY}")


def kept_scores(release: Path) -> pl.DataFrame | None:
    """Return the scores per query that a release keeps, or None if it keeps none."""
    files = sorted((release / SCORES).glob("*.parquet"))
    return pl.concat(map(pl.read_parquet, files)) if files else None


def compare_with_release(scores: pl.DataFrame, released: pl.DataFrame, suite: str, metric: str) -> list[dict[str, Any]]:
    """Return how a checkpoint differs from a release on a suite: the mean over its tasks, paired by query.

    Parameters
    ----------
    scores, released
        Scores per query of both; queries that only one was scored on do not count.
    suite, metric
        What to compare: a suite's name and a metric per query such as ``"ndcg_at_10"``.

    Returns
    -------
    list of dict
        A row per split: ``difference`` (the checkpoint minus the release), its 95 % bootstrap interval ``low`` to
        ``high``, ``queries``, and ``worse`` (the whole interval is below 0).
    """
    if metric not in scores.columns:
        return []
    both = scores.filter(suite=suite).select(*QUERY, ours=metric)
    both = both.join(released.select(*QUERY, theirs=metric), on=QUERY).sort(QUERY)
    both = both.with_columns(gain=pl.col("ours") - pl.col("theirs"))
    return [_difference(split, rows) for (split,), rows in both.group_by("split", maintain_order=True)]


def _difference(split: object, rows: pl.DataFrame) -> dict[str, Any]:
    gains = [task["gain"].to_numpy() for _, task in rows.group_by("task", "subset", maintain_order=True)]
    low, high = bootstrap_interval(gains)
    return {
        "split": split,
        "difference": float(np.mean([task.mean() for task in gains])),
        "low": low,
        "high": high,
        "queries": rows.height,
        "worse": high < 0,
    }
