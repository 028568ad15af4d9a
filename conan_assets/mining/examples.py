"""A dozen mined candidates worth reading: where negatives are strongest, and where they may be wrong."""

from collections.abc import Sequence

import polars as pl

from conan_assets.mining.audit import KEPT
from conan_assets.mining.settings import STUDENT, MiningSettings
from conan_assets.mining.shown import SCORE

PER_KIND = 3
MOST_QUERIES = 5_000
"""Queries among which examples are looked for, so that memory does not grow with them."""

HARDEST = "Among the hardest that are kept for training"
LIKELY_FALSE = "Kept, and the most likely to be relevant after all"
BARELY_REMOVED = "Removed by a veto, and the closest to being kept"
RANDOM = "Kept, drawn at random"


def choose_examples(settings: MiningSettings, negatives: pl.LazyFrame, positives: pl.LazyFrame) -> list[dict[str, str]]:
    """Return ``why``, ``query_id`` and ``doc_id`` of candidates worth reading, some of every kind, a query once.

    Candidates are compared by how far they score above their positives, in standard deviations of the scorer.

    Parameters
    ----------
    negatives
        A mined table.
    positives
        ``query_id``, ``doc_id`` and the score of each positive by every scorer of ``negatives``.
    """
    query = pl.col("query_id").hash()
    queries = positives.select(query.n_unique()).collect(engine="streaming").item()
    here = query % max(-(-queries // MOST_QUERIES), 1) == 0
    looked_at, known = (table.filter(here).collect(engine="streaming") for table in (negatives, positives))
    scores = [name for name in known.columns if name.endswith(SCORE)]
    reference = known.lazy().group_by("query_id").agg(getattr(pl.col(scores), settings.positive_score)())
    compared = looked_at.lazy().join(reference, on="query_id", suffix="_of_positive")
    above = {name.removesuffix(SCORE): (pl.col(name) - pl.col(f"{name}_of_positive")) / pl.std(name) for name in scores}
    vetoing = [veto.teacher for veto in settings.veto] or list(settings.teachers_used) or [STUDENT]
    vetoed_by = {name: pl.col("reason").str.starts_with(f"{name}:") for name in above}
    by_its_veto = pl.coalesce(pl.when(vetoed).then(-above[name]) for name, vetoed in vetoed_by.items())
    needed = pl.col("order") <= settings.negatives_per_query
    drawn = pl.struct("query_id", "doc_id").hash(settings.seed).cast(pl.Float64)
    values = {
        HARDEST: pl.when(needed).then(above[STUDENT]),
        LIKELY_FALSE: pl.when(KEPT).then(pl.max_horizontal(above[name] for name in vetoing)),
        BARELY_REMOVED: pl.when(~KEPT).then(by_its_veto),
        RANDOM: pl.when(KEPT).then(drawn),
    }
    chosen: list[dict[str, str]] = []
    for why, value in values.items():
        seen = [example["query_id"] for example in chosen]
        for query_id, doc_id in _best_of_each_query(compared, value, seen).head(PER_KIND).iter_rows():
            chosen.append({"why": why, "query_id": query_id, "doc_id": doc_id})
    return chosen


def _best_of_each_query(compared: pl.LazyFrame, value: pl.Expr, seen: Sequence[str]) -> pl.DataFrame:
    """Return ``query_id`` and ``doc_id`` of the candidate of the highest value, those of the highest first."""
    valued = compared.select("query_id", "doc_id", value=value).filter(
        pl.col("value").is_finite(), ~pl.col("query_id").is_in(list(seen))
    )
    best = valued.group_by("query_id").agg(pl.col("doc_id").get(pl.col("value").arg_max()), pl.col("value").max())
    return best.sort("value", "query_id", descending=[True, False]).select("query_id", "doc_id").collect()
