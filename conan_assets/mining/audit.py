"""What a mined set holds and what was removed from it, as tables, figures and a picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from conan_assets.data.text import comparison_key
from conan_assets.mining.figures import plot_histograms
from conan_assets.mining.miner import BEYOND_REASON
from conan_assets.mining.settings import MiningSettings
from conan_assets.search.retriever import effort_report

if TYPE_CHECKING:
    from conan_assets.mining.miner import Miner

KEPT = pl.col("verdict") == "kept"


def audit_report(
    settings: MiningSettings,
    miners: "list[Miner]",
    negatives: pl.DataFrame,
    evaluation_pairs: pl.DataFrame,
    previous: pl.DataFrame | None,
    workdir: Path,
) -> dict[str, Any]:
    """Return all figures of a mined set; writes the score histograms into ``workdir``."""
    positives = {
        name: np.concatenate([miner.positive_scores[name] for miner in miners]) for name in miners[0].retrievers
    }
    queries = sum(len(miner.collection.queries) for miner in miners)
    report = audit(negatives, settings.negatives_per_query, queries)
    report |= evaluation_overlap(negatives, miners, evaluation_pairs)
    if previous is not None:
        report["queries_changed"] = queries_changed(negatives, previous, settings.negatives_per_query)
    report |= effort_report(used.effort for miner in miners for used in miner.retrievers.values())
    report["rules"] = [veto.model_dump() for veto in settings.veto]
    report["positive_score"] = settings.positive_score
    report["histogram"] = plot_histograms(_panels(negatives, positives), workdir / "histogram.png")
    return report


def audit(negatives: pl.DataFrame, negatives_per_query: int, queries: int | None = None) -> dict[str, Any]:
    """Return counts by reason, shortage and mean scores of a negatives table.

    Parameters
    ----------
    negatives_per_query
        K: a query with fewer kept negatives is short.
    queries
        Number of queries mined, those without any candidate included; by default those in the table.
    """
    kept = negatives.filter(KEPT)
    per_query = kept.group_by("query_id").len()["len"]
    queries = queries or negatives["query_id"].n_unique()
    return {
        "rows": negatives.height,
        "queries": queries,
        "kept": kept.height,
        "removed": negatives.height - kept.height,
        "removed_by": removed_by(negatives),
        "kept_per_query": round(kept.height / max(queries, 1), 2),
        "queries_short": queries - int((per_query >= negatives_per_query).sum()),
        "queries_without_negatives": queries - len(per_query),
        "scores": mean_scores(negatives),
    }


def removed_by(negatives: pl.DataFrame) -> list[dict[str, Any]]:
    """Return how many candidates each reason removed, most first, and last how many the pool had no place for."""
    counts = (
        negatives.filter(~KEPT)
        .group_by("reason")
        .len("candidates")
        .sort(pl.col("reason") == BEYOND_REASON, "candidates", "reason", descending=[False, True, False])
    )
    share = (pl.col("candidates") / max(negatives.height, 1)).round(4)
    return counts.with_columns(share=share).to_dicts()


def mean_scores(negatives: pl.DataFrame) -> list[dict[str, Any]]:
    """Return each teacher's mean score of all candidates and of the kept ones."""
    columns = [name for name in negatives.columns if name.endswith("_score")]
    return [
        {
            "teacher": name.removesuffix("_score"),
            "candidates": mean(negatives, pl.col(name)),
            "kept": mean(negatives.filter(KEPT), pl.col(name)),
        }
        for name in columns
    ]


def mean(table: pl.DataFrame, values: pl.Expr) -> float:
    """Return the mean of ``values`` to four digits; 0 for an empty table."""
    return round(float(table.select(values.mean()).item() or 0.0), 4)


def evaluation_overlap(
    negatives: pl.DataFrame, miners: "list[Miner]", evaluation_pairs: pl.DataFrame
) -> dict[str, Any]:
    """Return what is shared with evaluation sets: mined queries, which must not be, and documents, which may be."""
    relevant = evaluation_pairs.filter(pl.col("task") == "retrieval", pl.col("score") > 0)
    documents = negatives.filter(KEPT).join(relevant.select("doc_id").unique(), on="doc_id", how="semi")
    mined = pl.concat([miner.collection.queries.to_frame("query") for miner in miners])
    keys = comparison_key(pl.col("query")).alias("key")
    queries = mined.select(keys).join(relevant.select(keys).unique(), on="key", how="semi")
    shared, kept = documents.height, negatives.filter(KEPT).height
    told = (
        f"{shared:,} of {kept:,} kept negatives are relevant to some evaluation query; all queries search one corpus, "
        "so a document that answers one is a negative of others: expected, and no answer leaks by it"
    )
    return {"queries_in_evaluation": queries.height, "documents_shared_with_evaluation": told}


def queries_changed(negatives: pl.DataFrame, previous: pl.DataFrame, negatives_per_query: int) -> float:
    """Return the share of queries whose first ``negatives_per_query`` negatives are not those of the round before."""

    def first(table: pl.DataFrame) -> pl.DataFrame:
        chosen = table.filter(KEPT, pl.col("order") <= negatives_per_query)
        return chosen.group_by("query_id").agg(pl.col("doc_id").sort())

    both = first(negatives).join(first(previous), on="query_id", how="left", suffix="_before")
    return mean(both, (pl.col("doc_id") != pl.col("doc_id_before")).fill_null(True))


def _panels(negatives: pl.DataFrame, positives: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Return the scores to draw by teacher; teachers that score alike, as the base model and itself, share a panel."""
    kept = negatives.filter(KEPT)
    panels: dict[str, dict[str, np.ndarray]] = {}
    for name, scores in positives.items():
        candidates = negatives[f"{name}_score"].to_numpy()
        panel = {"positives": scores, "candidates": candidates, "kept": kept[f"{name}_score"].to_numpy()}
        alike = next((other for other, each in panels.items() if np.allclose(each["candidates"], candidates)), None)
        panels[f"{alike} = {name}" if alike else name] = panels.pop(alike) if alike else panel
    return panels
