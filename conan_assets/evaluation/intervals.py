"""Confidence intervals by bootstrap over queries, of a score and of the difference between two models."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

RESAMPLES = 1_000
RESAMPLES_AT_ONCE = 50
CONFIDENCE = 0.95
SEED = 20_240

PLACE = ("suite", "task", "subset", "split")


def bootstrap_interval(values: np.ndarray) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the mean of ``values``, shape (queries,).

    The draws are seeded, so the same values always give the same interval.
    """
    generator = np.random.default_rng(SEED)
    means = np.empty(RESAMPLES)
    for start in range(0, RESAMPLES, RESAMPLES_AT_ONCE):
        drawn = generator.integers(len(values), size=(RESAMPLES_AT_ONCE, len(values)))
        means[start : start + RESAMPLES_AT_ONCE] = values[drawn].mean(axis=1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def with_intervals(rows: Sequence[dict[str, Any]], queries: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield ``rows`` with the columns ``low`` and ``high``, None where there are no scores per query."""
    for row in rows:
        values = queries.filter(**_place(row))
        known = row["metric"] in queries.columns and values.height > 0
        low, high = bootstrap_interval(values[row["metric"]].to_numpy()) if known else (None, None)
        yield {**row, "low": low, "high": high}


def differences(
    rows: Sequence[dict[str, Any]], queries: pl.DataFrame, references: Mapping[str, pl.DataFrame]
) -> list[dict[str, Any]]:
    """Return how each main metric differs from other models', paired by query.

    Parameters
    ----------
    rows, queries
        A report's rows and its scores per query.
    references
        Scores per query of the models to compare with, by the name shown (``"base model"``, ``"previous round"``).

    Returns
    -------
    list of dict
        A row per reference and task: ``difference`` (this model minus the reference), its 95 % interval ``low`` to
        ``high``, ``queries`` that both models were scored on, ``beyond_chance`` (the interval leaves out 0).
    """
    return [
        {"reference": name, **difference}
        for name, reference in references.items()
        for row in rows
        if row["main"] and (difference := _difference(row, queries, reference))
    ]


def _difference(row: dict[str, Any], queries: pl.DataFrame, reference: pl.DataFrame) -> dict[str, Any] | None:
    metric = row["metric"]
    if metric not in queries.columns:
        return None
    here = queries.filter(**_place(row)).select("query_id", ours=metric)
    both = here.join(reference.filter(**_place(row)).select("query_id", theirs=metric), on="query_id").sort("query_id")
    if both.is_empty():
        return None
    gains = (both["ours"] - both["theirs"]).to_numpy()
    low, high = bootstrap_interval(gains)
    return {
        **_place(row),
        "metric": metric,
        "difference": float(gains.mean()),
        "low": low,
        "high": high,
        "queries": len(gains),
        "beyond_chance": low > 0 or high < 0,
    }


def _place(row: dict[str, Any]) -> dict[str, str]:
    return {name: row[name] for name in PLACE}
