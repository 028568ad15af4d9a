"""The table of a teacher's scores: its best documents for every training query and all labelled positives."""

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from conan_assets.cleaning import TABLE
from conan_assets.data.tables import CANDIDATES, check_table
from conan_assets.mining.audit import Mean
from conan_assets.mining.calibration import calibration_report
from conan_assets.mining.collection import Collection, collections
from conan_assets.mining.figures import Histogram, plot_histograms
from conan_assets.mining.parts import TableWriter
from conan_assets.search.ranking import Neighbours
from conan_assets.search.retriever import Retriever, effort_report
from conan_assets.search.settings import TeacherSettings
from conan_assets.search.teachers import open_teacher

if TYPE_CHECKING:
    from conan_assets.encoding.store import EmbeddingStore


def score_with_teacher(
    settings: TeacherSettings,
    name: str,
    corpus: pl.LazyFrame,
    pairs: pl.LazyFrame,
    store: "EmbeddingStore",
    workdir: Path,
) -> dict[str, Any]:
    """Write the candidates table of the teacher ``name`` part by part; return its report.

    For every query of ``pairs`` with a positive: the ``settings.depth`` best documents of its dataset's corpus that
    are not its positives, and all its positives. ``rank`` counts both together; it is null for a positive below the
    last candidate. A positive outside of the corpus has "pair:" and the id of its pair as ``doc_id``.

    Parameters
    ----------
    workdir
        Where the table and the histogram are written, and what a killed search resumes from.
    """
    started = time.monotonic()
    scored, efforts = _Scored(), []
    with TableWriter(workdir / TABLE) as table, tempfile.TemporaryDirectory() as folder:
        for collection in collections(corpus, pairs, Path(folder)):
            checkpoints = workdir / "search" / collection.dataset
            retriever = open_teacher(settings, collection.texts.to_list(), store, checkpoints, collection.corpus_size)
            for part, found in collection.search(retriever, settings.depth):
                candidates = check_table(_candidates(part, retriever, found), CANDIDATES, f"teacher_scores/{name}")
                table.add(candidates)
                scored.add(candidates)
            efforts.append(retriever.effort)
    report = {**scored.report(), **effort_report(efforts), "seconds": round(time.monotonic() - started, 1)}
    if settings.calibrate:
        report |= calibration_report(workdir / TABLE, settings.calibration)
    report["histogram"] = plot_histograms({name: scored.histograms}, workdir / "histogram.png")
    return report


def _candidates(collection: Collection, retriever: Retriever, found: Neighbours) -> pl.DataFrame:
    rows, columns = np.nonzero(found.positions >= 0)
    positives = collection.positives
    queries = np.concatenate([rows, positives.rows])
    documents = np.concatenate([found.positions[rows, columns], positives.members])
    judged = retriever.score(collection.queries.to_list(), positives.rows, positives.members)
    scores = np.concatenate([found.scores[rows, columns], judged])
    frame = collection.ids_frame(queries, documents).with_columns(
        pl.Series("score", scores, pl.Float32), is_positive=pl.Series(np.arange(len(queries)) >= len(rows))
    )
    rank = pl.col("score").rank("ordinal", descending=True).over("query_id")
    lowest = pl.col("score").filter(~pl.col("is_positive")).min().over("query_id")
    return frame.with_columns(
        rank=pl.when(~pl.col("is_positive") | (pl.col("score") >= lowest)).then(rank).cast(pl.Int32)
    ).sort("query_id", pl.col("score"), descending=[False, True], maintain_order=True)


class _Scored:
    """What a table holds so far."""

    def __init__(self) -> None:
        self._queries = self._positives = self._candidates = 0
        self._found, self._of_positives, self._of_candidates = Mean(), Mean(), Mean()
        self.histograms = {"positives": Histogram(), "candidates": Histogram()}

    def add(self, table: pl.DataFrame) -> None:
        positives, candidates = table.filter("is_positive"), table.filter(~pl.col("is_positive"))
        self._queries += table["query_id"].n_unique()
        self._positives += positives.height
        self._candidates += candidates.height
        self._found.add(positives["rank"].is_not_null())
        self._of_positives.add(positives["score"])
        self._of_candidates.add(candidates["score"])
        self.histograms["positives"].add(positives["score"].to_numpy())
        self.histograms["candidates"].add(candidates["score"].to_numpy())

    def report(self) -> dict[str, Any]:
        return {
            "rows": self._positives + self._candidates,
            "queries": self._queries,
            "positives": self._positives,
            "candidates": self._candidates,
            "positives_found": self._found.value,
            "mean_score_of_positives": self._of_positives.value,
            "mean_score_of_candidates": self._of_candidates.value,
        }
