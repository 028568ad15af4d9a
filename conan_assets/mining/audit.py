"""What a mined set holds and what was removed from it, counted part by part; a part holds all rows of its queries."""

from collections import Counter
from typing import Any

import polars as pl

from conan_assets.data.text import comparison_key
from conan_assets.mining.miner import BEYOND_REASON

KEPT = pl.col("verdict") == "kept"


class Audit:
    """Counts by reason, shortage and mean scores of a negatives table.

    Parameters
    ----------
    negatives_per_query
        K: a query with fewer kept negatives is short.
    """

    def __init__(self, negatives_per_query: int) -> None:
        self._needed = negatives_per_query
        self._queries = self._rows = self._kept = self._enough = self._with_any = 0
        self._removed: Counter[str] = Counter()
        self._scores: dict[str, tuple[Mean, Mean]] = {}

    def add(self, negatives: pl.DataFrame, queries: int) -> None:
        """Take in the candidates of ``queries`` queries, those without any counted too."""
        kept = negatives.filter(KEPT)
        per_query = kept.group_by("query_id").len()["len"]
        self._queries += queries
        self._rows += negatives.height
        self._kept += kept.height
        self._enough += int((per_query >= self._needed).sum())
        self._with_any += len(per_query)
        self._removed.update(dict(negatives.filter(~KEPT).group_by("reason").len().iter_rows()))
        for name in (name for name in negatives.columns if name.endswith("_score")):
            for mean, part in zip(self._scores.setdefault(name, (Mean(), Mean())), (negatives, kept), strict=True):
                mean.add(part[name])

    def report(self) -> dict[str, Any]:
        """Return all figures."""
        return {
            "rows": self._rows,
            "queries": self._queries,
            "kept": self._kept,
            "removed": self._rows - self._kept,
            "removed_by": self._removed_by(),
            "kept_per_query": round(self._kept / max(self._queries, 1), 2),
            "queries_short": self._queries - self._enough,
            "queries_without_negatives": self._queries - self._with_any,
            "scores": [
                {"teacher": name.removesuffix("_score"), "candidates": candidates.value, "kept": kept.value}
                for name, (candidates, kept) in self._scores.items()
            ],
        }

    def _removed_by(self) -> list[dict[str, Any]]:
        """Return how many candidates each reason removed, most first, and last how many the pool had no place for."""
        ordered = sorted(self._removed.items(), key=lambda item: (item[0] == BEYOND_REASON, -item[1], item[0]))
        return [
            {"reason": reason, "candidates": count, "share": round(count / max(self._rows, 1), 4)}
            for reason, count in ordered
        ]


class Mean:
    """The mean of what was added, to four digits; 0 of nothing."""

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def add(self, values: pl.Series) -> None:
        """Take in numbers or booleans; nulls are left out."""
        self._sum += float(values.cast(pl.Float64).sum())
        self._count += values.len() - values.null_count()

    @property
    def value(self) -> float:
        """The mean so far."""
        return round(self._sum / max(self._count, 1), 4)


def audit(negatives: pl.DataFrame, negatives_per_query: int) -> dict[str, Any]:
    """Return counts by reason, shortage and mean scores of a whole negatives table; see :class:`Audit`."""
    whole = Audit(negatives_per_query)
    whole.add(negatives, negatives["query_id"].n_unique())
    return whole.report()


class EvaluationOverlap:
    """Counts what is shared with evaluation sets: mined queries, which must not be, and documents, which may be."""

    def __init__(self, evaluation_pairs: pl.DataFrame) -> None:
        relevant = evaluation_pairs.filter(pl.col("task") == "retrieval", pl.col("score") > 0)
        self._documents = relevant.select("doc_id").unique()
        self._keys = relevant.select(key=comparison_key(pl.col("query"))).unique()
        self._queries = self._shared = self._kept = 0

    def add(self, negatives: pl.DataFrame, queries: pl.Series) -> None:
        """Take in the candidates of the queries of these texts."""
        kept = negatives.filter(KEPT)
        keys = queries.to_frame("query").select(key=comparison_key(pl.col("query")))
        self._queries += keys.join(self._keys, on="key", how="semi").height
        self._shared += kept.join(self._documents, on="doc_id", how="semi").height
        self._kept += kept.height

    def report(self) -> dict[str, Any]:
        """Return the count of queries, and of documents in words."""
        told = (
            f"{self._shared:,} of {self._kept:,} kept negatives are relevant to some evaluation query; all queries "
            "search one corpus, so a document that answers one is a negative of others: expected, and no answer leaks "
            "by it"
        )
        return {"queries_in_evaluation": self._queries, "documents_shared_with_evaluation": told}


def queries_changed(negatives: pl.DataFrame, previous: pl.DataFrame, negatives_per_query: int) -> pl.Series:
    """Return, for each query with a negative, whether its first ``negatives_per_query`` are not those of before."""

    def first(table: pl.DataFrame) -> pl.DataFrame:
        chosen = table.filter(KEPT, pl.col("order") <= negatives_per_query)
        return chosen.group_by("query_id").agg(pl.col("doc_id").sort())

    both = first(negatives).join(first(previous), on="query_id", how="left", suffix="_before")
    return both.select((pl.col("doc_id") != pl.col("doc_id_before")).fill_null(True)).to_series()
