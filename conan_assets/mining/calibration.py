"""The ratio r of ``top_k_perc_pos`` that suits a teacher, found on queries with several judged positives.

Each positive in turn is hidden and treated as a candidate against its query's other positives: a false negative that
is known. The rule removes it iff s >= p - |p| (1 - r), that is for every r up to 1 - (p - s) / |p|. The largest r that
removes the wanted share of them is therefore a quantile of that bound.
"""

import numpy as np
import polars as pl

from conan_assets.mining.settings import Calibration


def hidden_positive_bounds(table: pl.DataFrame) -> np.ndarray:
    """Return, for each hidden positive of a candidates table, the largest r that still removes it, float64."""
    positives = table.lazy().filter("is_positive", pl.len().over("query_id", "is_positive") > 1)
    ranked = positives.select(
        score=pl.col("score").cast(pl.Float64),
        lowest=pl.col("score").cast(pl.Float64).min().over("query_id"),
        second=pl.col("score").cast(pl.Float64).sort().get(1).over("query_id"),
        is_lowest=pl.col("score").rank("ordinal").over("query_id") == 1,
    )
    anchor = pl.when("is_lowest").then("second").otherwise("lowest")
    hidden = ranked.select(bound=1 - (anchor - pl.col("score")) / anchor.abs()).collect()["bound"].to_numpy()
    return hidden[np.isfinite(hidden)]


def calibrated_ratio(table: pl.DataFrame, settings: Calibration) -> float | None:
    """Return r in (0, 1] for the teacher of a candidates table, or None with too few judgements."""
    bounds = hidden_positive_bounds(table)
    if len(bounds) < settings.min_judgements:
        return None
    return float(np.clip(np.quantile(bounds, 1 - settings.caught, method="lower"), 0.01, 1.0))
