"""Confidence intervals by bootstrap over queries, of a score and of the difference between two models."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from conan_assets.evaluation.report import Difference, ScoreRow

RESAMPLES = 1_000
RESAMPLES_AT_ONCE = 50
CONFIDENCE = 0.95
SEED = 20_240


def bootstrap_interval(strata: Sequence[np.ndarray]) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the mean over ``strata`` of their means.

    A stratum holds the values of one task's queries, shape (queries,); a task made of parts has one for each. The
    draws are seeded, so the same values always give the same interval.
    """
    generator = np.random.default_rng(SEED)
    means = np.mean([_resampled_means(values, generator) for values in strata], axis=0)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _resampled_means(values: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    means = np.empty(RESAMPLES)
    for start in range(0, RESAMPLES, RESAMPLES_AT_ONCE):
        drawn = generator.integers(len(values), size=(RESAMPLES_AT_ONCE, len(values)))
        means[start : start + RESAMPLES_AT_ONCE] = values[drawn].mean(axis=1)
    return means


def with_intervals(rows: Sequence[ScoreRow], queries: pl.DataFrame) -> Iterator[ScoreRow]:
    """Yield ``rows`` with their intervals, where there are scores per query."""
    for row in rows:
        scored = row.metric in queries.columns
        strata = [part[row.metric].to_numpy() for part in _parts(row, queries)] if scored else []
        low, high = bootstrap_interval(strata) if strata else (None, None)
        yield replace(row, low=low, high=high)


def differences(
    rows: Sequence[ScoreRow], queries: pl.DataFrame, references: Mapping[str, pl.DataFrame]
) -> list[Difference]:
    """Return how each main metric differs from other models', over the queries that both were scored on.

    Parameters
    ----------
    rows, queries
        A report's rows and its scores per query.
    references
        Scores per query of the models to compare with, by the name shown (``"base model"``, ``"previous round"``).
    """
    return [
        difference
        for name, reference in references.items()
        for row in rows
        if row.main and row.metric in queries.columns and (difference := _difference(row, queries, name, reference))
    ]


def _difference(row: ScoreRow, queries: pl.DataFrame, name: str, reference: pl.DataFrame) -> Difference | None:
    key = ["suite", "task", "subset", "split", "query_id"]
    theirs = reference.select(*key, theirs=row.metric)
    both = [part.join(theirs, on=key).sort("query_id") for part in _parts(row, queries)]
    if not both or any(part.is_empty() for part in both):
        return None
    gains = [(part[row.metric] - part["theirs"]).to_numpy() for part in both]
    low, high = bootstrap_interval(gains)
    return Difference(
        **vars(row.measure),
        reference=name,
        difference=float(np.mean([part.mean() for part in gains])),
        low=low,
        high=high,
        queries=sum(len(part) for part in gains),
        beyond_chance=low > 0 or high < 0,
    )


def _parts(row: ScoreRow, queries: pl.DataFrame) -> list[pl.DataFrame]:
    """Return the queries that a row's score is the mean of: the task's, or those of each task that is part of it."""
    of_task = (pl.col("task") == row.task) | (pl.col("part_of") == row.task)
    place = {"suite": row.suite, "subset": row.subset, "split": row.split}
    return queries.filter(of_task, **place).partition_by("task", maintain_order=True)
