"""What a run trains on: Parquet files in one folder, read into flat arrays.

``texts.parquet``: ``text_id``, ``text``: every document once.

``retrieval.parquet``: ``sample_id``, ``query`` and, as lists of text ids, ``positives`` (at least one; a step draws
one) and ``candidates`` (hard negatives, the best first; may be empty). Distillation also needs ``positive_scores`` and
``candidate_scores``, a teacher's score for each of those ids.

``classification.parquet``: ``text``, ``label`` and, if there are several, ``dataset``: trained as retrieval, see
:mod:`conan_assets.training.classification`.

``sts.parquet``: ``text_a``, ``text_b``, ``score`` (any scale, higher is more alike).

``dev.parquet``: samples like those of ``retrieval.parquet``, measured for an early stop and never trained on.

A file may be missing or empty as long as one task has rows. Other columns are not read. Text ids outside
``texts.parquet``, a sample without positives, and nulls are errors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from conan_assets.training.classification import read_classification
from conan_assets.training.columns import (
    StringColumn,
    TrainingDataError,
    has_rows,
    lists_of,
    name_row,
    names,
    numbers,
    read_id_lists,
    read_score_lists,
    read_table,
    texts,
)
from conan_assets.training.samples import RetrievalSamples, join_samples
from conan_assets.training.settings import Task

TEXTS = "texts.parquet"
RETRIEVAL = "retrieval.parquet"
CLASSIFICATION = "classification.parquet"
STS = "sts.parquet"
DEV = "dev.parquet"
TEXTS_LOOKED_AT = 1_000


@dataclass(frozen=True)
class StsData:
    """Sentence pairs and their graded similarity, ``scores`` of shape (pairs,)."""

    first: StringColumn
    second: StringColumn
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class TrainingData:
    """The tasks of a stage; at least one is there. Classification is part of ``retrieval``."""

    retrieval: RetrievalSamples | None
    sts: StsData | None

    def sample_of_texts(self) -> list[str]:
        """Return documents, or sentences if there are none, from all over the data."""
        texts = self.retrieval.texts if self.retrieval is not None else self.sts.first if self.sts is not None else ()
        return [texts[row] for row in range(0, len(texts), max(1, len(texts) // TEXTS_LOOKED_AT))]


def read_training_data(folder: Path, tasks: Sequence[Task]) -> TrainingData:
    """Read the files of ``tasks`` in ``folder``; raise TrainingDataError for what cannot be trained on."""
    parts = []
    if "retrieval" in tasks and has_rows(folder / RETRIEVAL):
        parts.append(_read_retrieval(folder, RETRIEVAL))
    if "classification" in tasks and has_rows(folder / CLASSIFICATION):
        parts.append(read_classification(folder / CLASSIFICATION))
    sts = _read_sts(folder) if "sts" in tasks and has_rows(folder / STS) else None
    parts = [part for part in parts if len(part)]
    if not parts and sts is None:
        raise TrainingDataError(f"{folder} has nothing to train on: no file holds a row for {', '.join(tasks)}")
    return TrainingData(join_samples(parts) if parts else None, sts)


def read_dev_samples(folder: Path) -> RetrievalSamples:
    """Read the samples that an early stop measures; raise TrainingDataError if there are none."""
    if not has_rows(folder / DEV):
        raise TrainingDataError(f"{folder / DEV} holds no row; early_stop needs samples to measure")
    return join_samples([_read_retrieval(folder, DEV)])


def _read_retrieval(folder: Path, name: str) -> RetrievalSamples:
    path = folder / name
    documents = read_table(folder / TEXTS, {"text_id": names, "text": texts})
    samples = read_table(
        path,
        {"sample_id": names, "query": texts, "positives": lists_of(names), "candidates": lists_of(names)},
        {"positive_scores": lists_of(numbers), "candidate_scores": lists_of(numbers)},
    )
    ids = documents["text_id"]
    counts = ids.value_counts()
    if len(counts) != len(ids):
        twice = counts.field("values")[pc.index(pc.greater(counts.field("counts"), 1), True).as_py()].as_py()
        raise TrainingDataError(f"{folder / TEXTS}: column text_id names the text {twice!r} twice; ids must be unique")
    positives = read_id_lists(samples, "positives", ids, path)
    candidates = read_id_lists(samples, "candidates", ids, path)
    without = np.flatnonzero(positives.lengths == 0)
    if len(without):
        raise TrainingDataError(f"{name_row(samples, int(without[0]), path)}: column positives is an empty list")
    return RetrievalSamples(
        texts=StringColumn(documents["text"]),
        text_ids=StringColumn(ids),
        sample_ids=StringColumn(samples["sample_id"]),
        queries=StringColumn(samples["query"]),
        positives=positives,
        candidates=candidates,
        positive_scores=read_score_lists(samples, "positive_scores", positives, path),
        candidate_scores=read_score_lists(samples, "candidate_scores", candidates, path),
    )


def _read_sts(folder: Path) -> StsData:
    pairs = read_table(folder / STS, {"text_a": texts, "text_b": texts, "score": numbers})
    scores = pairs["score"].to_numpy().astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(scores))
    if len(wrong):
        raise TrainingDataError(f"{folder / STS}: row {wrong[0] + 1}: score is {scores[wrong[0]]}, not a finite number")
    return StsData(StringColumn(pairs["text_a"]), StringColumn(pairs["text_b"]), scores)
