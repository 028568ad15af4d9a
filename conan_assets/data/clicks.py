"""What clicks say of a document: how often it is clicked when it is looked at, and how often it was passed over.

People look at what stands first more often, whatever it is. So clicks are not counted against showings but against
showings that each count as often as their position is looked at (the examination hypothesis): k^-eta as in Joachims,
Swaminathan and Schnabel 2017 (arXiv 1608.04468), or the log's click rate at the position over that at the first, whose
ratio to the clicks is COEC, clicks over expected clicks (Zhang and Jones, WWW 2007), up to that constant. A click says
too that what stands above was looked at: documents there that are not clicked are negatives ("skip above", Joachims,
KDD 2002).
"""

from typing import Literal

import polars as pl

from conan_assets.data.settings import QueryLogSource
from conan_assets.data.text import comparison_key

LEAST_EXAMINED = 0.05
"""No position counts less: one lucky click far down would weigh as much as hundreds at the top."""


def examination(showings: pl.DataFrame, bias: float | Literal["log"]) -> pl.DataFrame:
    """Return ``position``, ``shown``, ``clicks`` and ``examined`` (how often it is looked at, 1 at the first).

    Parameters
    ----------
    showings
        Columns ``position`` (from 1) and ``clicked``.
    bias
        The exponent eta, or ``log`` for the log's own click rates.

    Raises
    ------
    ValueError
        ``log``, and the first position was never clicked.
    """
    positions = showings.group_by("position").agg(shown=pl.len(), clicks=pl.col("clicked").sum()).sort("position")
    if bias != "log":
        examined = pl.col("position").cast(pl.Float64) ** -bias
    else:
        rates = positions.with_columns(rate=pl.col("clicks") / pl.col("shown"))
        first = rates.filter(pl.col("position") == 1)["rate"].sum()
        if not first:
            raise ValueError("position 1 was never clicked, so position_bias cannot be taken from the log")
        examined = pl.col("clicks") / pl.col("shown") / first
    return positions.with_columns(examined=examined.clip(LEAST_EXAMINED, 1.0))


def judge(showings: pl.DataFrame, examined: pl.DataFrame, settings: QueryLogSource) -> pl.DataFrame:
    """Return ``query``, ``doc_id`` and ``score``: 1 for positives and 0 for negatives of queries with a positive.

    Parameters
    ----------
    showings
        ``search``, ``query``, ``doc_id``, ``position`` and ``clicked``, each document of a search once.
    examined
        ``position`` and ``examined``, of :func:`examination`.
    settings
        Thresholds.
    """
    lowest_click = pl.col("position").filter(pl.col("clicked")).max().over("search")
    skipped = ~pl.col("clicked") & (pl.col("position") < lowest_click).fill_null(False)
    counted = (
        showings.join(examined.select("position", "examined"), on="position", how="left", maintain_order="left")
        .with_columns(skipped=skipped)
        .group_by("query", "doc_id", maintain_order=True)
        .agg(clicks=pl.col("clicked").sum(), skips=pl.col("skipped").sum(), examined=pl.col("examined").sum())
    )
    rate = pl.col("clicks") / pl.col("examined")
    positive = (pl.col("clicks") >= settings.min_clicks) & (rate >= settings.min_click_rate)
    in_any_case = pl.col("clicks").sum().over(comparison_key(pl.col("query")), "doc_id")
    negative = (in_any_case == 0) & (pl.col("skips") >= (settings.min_skips or 0))
    judged = counted.with_columns(score=pl.when(positive).then(1.0).when(negative).then(0.0).cast(pl.Float32))
    judged = judged.drop_nulls("score") if settings.min_skips is not None else judged.filter(pl.col("score") > 0)
    return judged.filter((pl.col("score").max() > 0).over("query")).select("query", "doc_id", "score")
