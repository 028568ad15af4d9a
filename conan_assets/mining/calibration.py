"""The ratio r of ``top_k_perc_pos`` that suits a teacher, found on queries with several judged positives.

Each positive in turn is hidden and treated as a candidate against the mean p of its query's other positives: a false
negative that is known. The rule removes it iff s >= p - |p| (1 - r), that is for every r up to 1 - (p - s) / |p|. The
largest r that removes the wanted share of them is therefore a quantile of that bound.
"""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from conan_assets.mining.parts import parts_of
from conan_assets.search.settings import Calibration

SHOWN_RATIOS = (0.90, 0.95, 0.97, 0.99)


def hidden_positive_bounds(table: pl.LazyFrame) -> np.ndarray:
    """Return, for each hidden positive of a candidates table, the largest r that still removes it, float64."""
    score, count = pl.col("score").cast(pl.Float64), pl.len().over("query_id")
    others = (score.sum().over("query_id") - score) / (count - 1)
    positives = table.filter("is_positive").select("query_id", "score").collect().filter(count > 1)
    positives = positives.select(score.alias("score"), others.alias("others"))
    bounds = _largest_ratio(positives["score"].to_numpy(), positives["others"].to_numpy())
    finite: np.ndarray = bounds[np.isfinite(bounds)]
    return finite


def candidate_bounds(table: pl.DataFrame) -> np.ndarray:
    """Return, for each candidate in all rows of some queries, the largest r that removes it, float64."""
    score = pl.col("score").cast(pl.Float64)
    reference = score.filter("is_positive").mean().over("query_id")
    rows = table.select(score.alias("score"), reference.alias("reference"), "is_positive").filter(
        ~pl.col("is_positive")
    )
    return _largest_ratio(rows["score"].to_numpy(), rows["reference"].to_numpy())


def calibrated_ratio(table: pl.LazyFrame, settings: Calibration) -> float | None:
    """Return r in (0, 1] for the teacher of a candidates table, or None with too few judgements."""
    return _ratio_of(hidden_positive_bounds(table), settings)


def _ratio_of(bounds: np.ndarray, settings: Calibration) -> float | None:
    if len(bounds) < settings.min_judgements:
        return None
    removed = np.ceil(settings.caught * len(bounds)).astype(int)
    return float(np.clip(np.sort(bounds)[len(bounds) - removed], 0.01, 1.0))


def calibration_report(path: Path, settings: Calibration) -> dict[str, Any]:
    """Return the ratio found, and what it and the usual ones remove of hidden positives and of candidates.

    Parameters
    ----------
    path
        Parquet file of a candidates table that was written in parts.
    """
    hidden = hidden_positive_bounds(pl.scan_parquet(path))
    ratio = _ratio_of(hidden, settings)
    ratios = [*SHOWN_RATIOS, *([ratio] if ratio else [])]
    over, candidates = np.zeros(len(ratios)), 0
    for part in parts_of(path):
        bounds = candidate_bounds(part)
        over += (bounds[:, None] >= np.array(ratios)).sum(axis=0)
        candidates += len(bounds)
    removed = [
        {
            "ratio": round(r, 4),
            "hidden_positives_removed": round(float((hidden >= r).mean()), 4) if len(hidden) else None,
            "candidates_removed": round(count / max(candidates, 1), 4),
        }
        for r, count in zip(ratios, over.tolist(), strict=True)
    ]
    return {"calibrated_ratio": ratio, "hidden_positives": len(hidden), "calibration": removed}


def _largest_ratio(scores: np.ndarray, references: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios: np.ndarray = 1 - (references - scores) / np.abs(references)
        return ratios
