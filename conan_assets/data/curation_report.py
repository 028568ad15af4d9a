"""What curation removed and kept, as the tables of a report."""

from typing import Any

import polars as pl

from conan_assets.data.judged import JudgedPairs
from conan_assets.data.rules import STEPS

EXAMPLE_CHARS = 160

ORDER = pl.DataFrame(
    [(step, reason) for step, reasons in STEPS.items() for reason in reasons], schema=["step", "reason"], orient="row"
)


def count_reasons(judged: JudgedPairs) -> pl.DataFrame:
    """Return ``step``, ``reason``, ``removed`` and ``remaining``, a row for each reason in order."""
    found = judged.reason.drop_nulls().cast(pl.String).value_counts(name="removed")
    counts = ORDER.join(found, on="reason", how="left", maintain_order="left").with_columns(
        pl.col("removed").fill_null(0).cast(pl.Int64)
    )
    return counts.with_columns(remaining=len(judged) - pl.col("removed").cum_sum())


def report_of(
    judged: JudgedPairs, kept: pl.LazyFrame, contamination: list[dict[str, Any]], examples: int
) -> dict[str, Any]:
    """Return the report of a curation.

    Parameters
    ----------
    judged
        All pairs, with the reasons to remove them.
    kept
        The training pairs.
    contamination
        What :meth:`conan_assets.data.decontamination.EvaluationSets.find` returns.
    examples
        How many removed pairs to show for each reason, and how many kept ones of each dataset and task.
    """
    counts = count_reasons(judged)
    removed = int(counts["removed"].sum())
    overlap = _overlap(judged)
    return {
        "rows_in": len(judged),
        "rows_out": len(judged) - removed,
        "queries": kept.select(pl.col("query_id").n_unique()).collect().item(),
        "queries_normalised": judged.changed,
        "removed": removed,
        "removed_by_reason": counts.to_dicts(),
        "contaminated_share": round(sum(overlap["contaminated"]) / max(sum(overlap["pairs"]), 1), 6),
        "contaminated_by_dataset": overlap.to_dicts(),
        "decontamination": contamination,
        "kept_by_dataset": kept.group_by("dataset", "task", "origin")
        .len("pairs")
        .sort("dataset", "task", "origin")
        .collect(engine="streaming")
        .to_dicts(),
        "kept_examples": _examples(judged, _spread(judged, examples)),
        "rejected_examples": _examples(judged, _first_removed(judged, examples)),
    }


def _overlap(judged: JudgedPairs) -> pl.DataFrame:
    """Return for each dataset the ``pairs`` left before decontamination, how many it removed, and their share."""
    left = judged.left(STEPS["decontamination"][0], "row", "dataset")
    removed = judged.reason.cast(pl.String).is_in(STEPS["decontamination"]).gather(left["row"])
    return (
        left.with_columns(removed=removed.fill_null(False))
        .group_by(pl.col("dataset").cast(pl.String))
        .agg(pairs=pl.len(), contaminated=pl.col("removed").sum(), share=pl.col("removed").mean().round(6))
        .sort("dataset")
    )


def _first_removed(judged: JudgedPairs, examples: int) -> pl.DataFrame:
    """Return ``row``, ``document`` and ``reason`` of the first removed pairs of each reason, in their order."""
    removed = judged.frame.select("row", "document").with_columns(judged.reason).drop_nulls("reason")
    return removed.filter(pl.int_range(pl.len()).over("reason") < examples).sort("reason", "row")


def _spread(judged: JudgedPairs, examples: int) -> pl.DataFrame:
    """Return ``row`` and ``document`` of some kept pairs of each dataset and task, evenly spread over them."""
    kept = judged.frame.filter(pl.col("reasons") == 0)
    spread = (pl.int_range(pl.len()) * examples % pl.len() < examples).over("dataset", "task")
    return kept.filter(spread).select("row", "document")


def _examples(judged: JudgedPairs, shown: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the pairs of some rows with the beginnings of their texts."""
    passages = judged.passages.gather(shown["document"].to_numpy().astype("int64"))
    rows = judged.rows(shown["row"], "pair_id", "origin", "query_id", "query", "doc_id")
    return (
        shown.select(pl.exclude("document"), document=passages)
        .join(rows, on="row", how="left", maintain_order="left")
        .select(
            pl.col("^reason$"),
            "pair_id",
            "origin",
            "query_id",
            pl.col("query", "document").str.slice(0, EXAMPLE_CHARS),
            "doc_id",
        )
        .to_dicts()
    )
