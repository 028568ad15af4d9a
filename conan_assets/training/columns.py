"""Columns of the training data in memory, read from Parquet with errors that name file, column and row."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


class TrainingDataError(ValueError):
    """The training data break their schema; the message names file, column and row."""


class StringColumn:
    """A column of strings that stays in Arrow memory; an item becomes a Python string when it is read."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self.array = join_chunks(column.cast(pa.large_string()))

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: int) -> str:
        return self.array[int(index)].as_py()


@dataclass(frozen=True)
class Lists:
    """A list of numbers per sample: sample i owns ``values[starts[i] : starts[i] + lengths[i]]``; lists may overlap."""

    starts: np.ndarray
    lengths: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, lengths: np.ndarray, values: np.ndarray) -> "Lists":
        """Return lists of those lengths that lie end to end in ``values``."""
        return cls(np.cumsum(lengths) - lengths, lengths, values)

    def __getitem__(self, sample: int) -> np.ndarray:
        return self.values[self.starts[sample] : self.starts[sample] + self.lengths[sample]]

    def take(self, samples: np.ndarray, positions: np.ndarray, missing: float) -> np.ndarray:
        """Return the values at ``positions`` (samples, n) of the lists, ``missing`` where a position is negative."""
        if not len(self.values):
            return np.full(positions.shape, missing)
        rows = np.clip(self.starts[samples][:, None] + positions, 0, len(self.values) - 1)
        return np.where(positions < 0, missing, self.values[rows])


def has_rows(path: Path) -> bool:
    """Return whether the file is there and holds a row."""
    try:
        return path.exists() and pq.read_metadata(path).num_rows > 0
    except (OSError, pa.ArrowInvalid) as error:
        raise TrainingDataError(f"{path} cannot be read as Parquet: {error}") from error


def read_table(path: Path, columns: tuple[str, ...], optional: tuple[str, ...] = ()) -> pa.Table:
    """Return ``columns`` of the file, and those of ``optional`` that it has; none of them may hold a null."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise TrainingDataError(f"{path} cannot be read as Parquet: {error}") from error
    for name in columns:
        if name not in table.column_names:
            raise TrainingDataError(f"{path} lacks the column {name!r}; it has {', '.join(table.column_names)}")
    table = table.select([name for name in (*columns, *optional) if name in table.column_names])
    for name in table.column_names:
        if table[name].null_count:
            raise TrainingDataError(f"{path}: row {_first_null(table[name]) + 1}: column {name} is null")
    return table


def read_id_lists(samples: pa.Table, column: str, ids: pa.Array, where: Path) -> Lists:
    """Return a column of lists of ids as lists of the ids' positions in ``ids``."""
    lists = join_chunks(samples[column])
    lengths = pc.list_value_length(lists).to_numpy().astype(np.int64)
    values = lists.flatten()
    rows = pc.index_in(values.cast(ids.type), ids)
    if rows.null_count:
        position = _first_null(rows)
        sample = int(np.searchsorted(np.cumsum(lengths), position, side="right"))
        raise TrainingDataError(
            f"{name_row(samples, sample, where)}: column {column} names the text {values[position].as_py()!r}, "
            "which texts.parquet does not hold"
        )
    return Lists.of(lengths, rows.to_numpy().astype(np.int32))


def read_score_lists(samples: pa.Table, column: str, of: Lists, where: Path) -> Lists | None:
    """Return a column of lists of scores, one for each item of the lists ``of``; None if the column is not there."""
    if column not in samples.column_names:
        return None
    lists = join_chunks(samples[column])
    lengths = pc.list_value_length(lists).to_numpy().astype(np.int64)
    wrong = np.flatnonzero(lengths != of.lengths)
    if len(wrong):
        row = int(wrong[0])
        raise TrainingDataError(
            f"{name_row(samples, row, where)}: column {column} holds {lengths[row]} scores for {of.lengths[row]} texts"
        )
    return Lists.of(lengths, lists.flatten().to_numpy(zero_copy_only=False).astype(np.float32))


def join_chunks(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array."""
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def name_row(samples: pa.Table, row: int, where: Path) -> str:
    """Return how an error names a row of the samples."""
    return f"{where}: row {row + 1} (sample_id {samples['sample_id'][row].as_py()!r})"


def _first_null(column: pa.Array | pa.ChunkedArray) -> int:
    return pc.index(column.is_null(), pa.scalar(True)).as_py()
