"""What a run trains on: three Parquet files in one folder, read into flat arrays.

``texts.parquet``: ``text_id``, ``text``: every document once.

``retrieval.parquet``: ``sample_id``, ``query`` and, as lists of text ids, ``positives`` (at least one; a step draws one)
and ``candidates`` (hard negatives, the best first; may be empty). A column ``dataset`` is optional.

``sts.parquet``: ``text_a``, ``text_b``, ``score`` (any scale, higher is more alike).

One of the last two may be missing or empty. Text ids outside ``texts.parquet``, empty lists of positives and nulls are errors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

TEXTS = "texts.parquet"
RETRIEVAL = "retrieval.parquet"
STS = "sts.parquet"


class TrainingDataError(ValueError):
    """The training data break their schema; the message names file, column and row."""


@dataclass(frozen=True)
class Lists:
    """A list of numbers per sample, stored end to end: sample i owns ``values[offsets[i]:offsets[i + 1]]``."""

    offsets: np.ndarray
    values: np.ndarray

    def __getitem__(self, sample: int) -> np.ndarray:
        return self.values[self.offsets[sample] : self.offsets[sample + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Length of every list, shape (samples,)."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class RetrievalData:
    """Retrieval samples over numbered texts.

    Equal texts have equal numbers in ``text_class`` (texts,) and ``query_class`` (samples,), whatever their ids.
    """

    texts: Sequence[str]
    text_class: np.ndarray
    sample_ids: Sequence[str]
    queries: Sequence[str]
    query_class: np.ndarray
    positives: Lists
    candidates: Lists

    def __len__(self) -> int:
        return len(self.sample_ids)


@dataclass(frozen=True)
class StsData:
    """Sentence pairs and their graded similarity, ``scores`` of shape (pairs,)."""

    first: Sequence[str]
    second: Sequence[str]
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class TrainingData:
    """The tasks of a run; at least one is there."""

    retrieval: RetrievalData | None
    sts: StsData | None


def read_training_data(folder: Path) -> TrainingData:
    """Read the files of ``folder``; raise TrainingDataError for what cannot be trained on."""
    retrieval = _read_retrieval(folder) if _has_rows(folder / RETRIEVAL) else None
    sts = _read_sts(folder) if _has_rows(folder / STS) else None
    if retrieval is None and sts is None:
        raise TrainingDataError(f"{folder} has nothing to train on: neither {RETRIEVAL} nor {STS} holds a row")
    return TrainingData(retrieval, sts)


def _has_rows(path: Path) -> bool:
    try:
        return path.exists() and pq.read_metadata(path).num_rows > 0
    except (OSError, pa.ArrowInvalid) as error:
        raise TrainingDataError(f"{path} cannot be read as Parquet: {error}") from error


class StringColumn(Sequence[str]):
    """A column of strings that stays in Arrow memory; an item becomes a Python string when it is read."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._array = pa.concat_arrays(column.cast(pa.large_string()).chunks or [pa.array([], pa.large_string())])

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._array[int(index)].as_py()


def _read_retrieval(folder: Path) -> RetrievalData:
    texts = _read_table(folder / TEXTS, ("text_id", "text"))
    samples = _read_table(folder / RETRIEVAL, ("sample_id", "query", "positives", "candidates"))
    text_ids = texts["text_id"].combine_chunks()
    if len(text_ids.unique()) != len(text_ids):
        raise TrainingDataError(f"{folder / TEXTS}: column text_id names a text twice; ids must be unique")
    every_text = pa.chunked_array([*texts["text"].cast(pa.large_string()).chunks, *samples["query"].cast(pa.large_string()).chunks])
    classes = every_text.combine_chunks().dictionary_encode().indices.to_numpy()
    positives = _read_lists(samples, "positives", text_ids, folder / RETRIEVAL)
    without = np.flatnonzero(positives.lengths == 0)
    if len(without):
        raise TrainingDataError(f"{_row(samples, without[0], folder / RETRIEVAL)}: column positives is an empty list")
    return RetrievalData(
        texts=StringColumn(texts["text"]),
        text_class=classes[: texts.num_rows],
        sample_ids=StringColumn(samples["sample_id"]),
        queries=StringColumn(samples["query"]),
        query_class=classes[texts.num_rows :],
        positives=positives,
        candidates=_read_lists(samples, "candidates", text_ids, folder / RETRIEVAL),
    )


def _read_sts(folder: Path) -> StsData:
    pairs = _read_table(folder / STS, ("text_a", "text_b", "score"))
    scores = pairs["score"].to_numpy().astype(np.float32)
    wrong = np.flatnonzero(~np.isfinite(scores))
    if len(wrong):
        raise TrainingDataError(f"{folder / STS}: row {wrong[0] + 1}: score is {scores[wrong[0]]}, not a finite number")
    return StsData(StringColumn(pairs["text_a"]), StringColumn(pairs["text_b"]), scores)


def _read_table(path: Path, columns: tuple[str, ...]) -> pa.Table:
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise TrainingDataError(f"{path} cannot be read as Parquet: {error}") from error
    for name in columns:
        if name not in table.column_names:
            raise TrainingDataError(f"{path} lacks the column {name!r}; it has {', '.join(table.column_names)}")
        if table[name].null_count:
            row = table[name].is_null().index(pa.scalar(True)).as_py()
            raise TrainingDataError(f"{path}: row {row + 1}: column {name} is null")
    return table.select(columns)


def _read_lists(samples: pa.Table, column: str, text_ids: pa.Array, path: Path) -> Lists:
    """Return a column of lists of text ids as lists of row numbers in the table of texts."""
    lists = samples[column].combine_chunks()
    if isinstance(lists, pa.ChunkedArray):
        lists = pa.concat_arrays(lists.chunks)
    offsets = np.concatenate([[0], np.cumsum(pc.list_value_length(lists).to_numpy())]).astype(np.int64)
    values = lists.flatten()
    rows = pc.index_in(values.cast(text_ids.type), text_ids)
    if rows.null_count:
        position = rows.is_null().index(pa.scalar(True)).as_py()
        sample = int(np.searchsorted(offsets, position, side="right")) - 1
        raise TrainingDataError(
            f"{_row(samples, sample, path)}: column {column} names the text {values[position].as_py()!r}, "
            f"which {TEXTS} does not hold"
        )
    return Lists(offsets, rows.to_numpy().astype(np.int32))


def _row(samples: pa.Table, row: int, path: Path) -> str:
    return f"{path}: row {row + 1} (sample_id {samples['sample_id'][int(row)].as_py()!r})"
