"""The table of a teacher's scores: its best documents for every training query and all labelled positives."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from conan_assets.data.tables import CANDIDATES, check_table
from conan_assets.mining.audit import mean
from conan_assets.mining.calibration import calibration_report
from conan_assets.mining.collection import Collection, collections
from conan_assets.mining.figures import plot_histograms
from conan_assets.search.retriever import Retriever, effort_report
from conan_assets.search.settings import TeacherSettings
from conan_assets.search.teachers import open_teacher

if TYPE_CHECKING:
    from conan_assets.encoding.store import EmbeddingStore


def score_with_teacher(
    settings: TeacherSettings,
    name: str,
    corpus: pl.DataFrame,
    pairs: pl.DataFrame,
    store: "EmbeddingStore",
    workdir: Path,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return the candidates table of the teacher ``name`` and its report.

    For every query of ``pairs`` with a positive: the ``settings.depth`` best documents of its dataset's corpus that
    are not its positives, and all its positives. ``rank`` counts both together; it is null for a positive below the
    last candidate. A positive outside of the corpus has "pair:" and the id of its pair as ``doc_id``.

    Parameters
    ----------
    workdir
        Where the histogram is written, and what a killed search resumes from.
    """
    started = time.monotonic()
    frames, efforts = [], []
    for collection in collections(corpus, pairs):
        checkpoints = workdir / "search" / collection.dataset
        retriever = open_teacher(settings, collection.texts.to_list(), store, checkpoints, collection.corpus_size)
        frames.append(_candidates(collection, retriever, settings.depth))
        efforts.append(retriever.effort)
    table = check_table(pl.concat(frames), CANDIDATES, f"teacher_scores/{name}")
    report = {**_counts(table), **effort_report(efforts), "seconds": round(time.monotonic() - started, 1)}
    if settings.calibrate:
        report |= calibration_report(table, settings.calibration)
    report["histogram"] = plot_histograms({name: _split(table)}, workdir / "histogram.png")
    return table, report


def _candidates(collection: Collection, retriever: Retriever, depth: int) -> pl.DataFrame:
    asked = collection.query_texts
    found = retriever.search(asked, depth, collection.positives)
    rows, columns = np.nonzero(found.positions >= 0)
    positives = collection.positives
    queries = np.concatenate([rows, positives.rows])
    documents = np.concatenate([found.positions[rows, columns], positives.members])
    judged = retriever.score(asked, positives.rows, positives.members)
    scores = np.concatenate([found.scores[rows, columns], judged])
    frame = collection.ids_frame(queries, documents).with_columns(
        pl.Series("score", scores, pl.Float32), is_positive=pl.Series(np.arange(len(queries)) >= len(rows))
    )
    rank = pl.col("score").rank("ordinal", descending=True).over("query_id")
    lowest = pl.col("score").filter(~pl.col("is_positive")).min().over("query_id")
    return frame.with_columns(
        rank=pl.when(~pl.col("is_positive") | (pl.col("score") >= lowest)).then(rank).cast(pl.Int32)
    ).sort("query_id", pl.col("score"), descending=[False, True], maintain_order=True)


def _split(table: pl.DataFrame) -> dict[str, np.ndarray]:
    return {
        "positives": table.filter("is_positive")["score"].to_numpy(),
        "candidates": table.filter(~pl.col("is_positive"))["score"].to_numpy(),
    }


def _counts(table: pl.DataFrame) -> dict[str, Any]:
    positives, candidates = table.filter("is_positive"), table.filter(~pl.col("is_positive"))
    return {
        "rows": table.height,
        "queries": table["query_id"].n_unique(),
        "positives": positives.height,
        "candidates": candidates.height,
        "positives_found": mean(positives, pl.col("rank").is_not_null()),
        "mean_score_of_positives": mean(positives, pl.col("score")),
        "mean_score_of_candidates": mean(candidates, pl.col("score")),
    }
