"""Columns of the training data in memory, read from Parquet with errors that name file, column and row."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

Columns = dict[str, pa.Array]
Kind = Callable[[pa.Array], pa.Array]
"""Reads a column as what it should hold, or raises ValueError."""


class TrainingDataError(ValueError):
    """The training data break their schema; the message names file, column and row."""


class StringColumn:
    """A column of strings that stays in Arrow memory; an item becomes a Python string when it is read."""

    def __init__(self, array: pa.LargeStringArray) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: int) -> str:
        text: str = self.array[int(index)].as_py()
        return text


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


def texts(column: pa.Array) -> pa.Array:
    """Return a column of texts as large strings."""
    types = pa.types
    if not any(is_text(column.type) for is_text in (types.is_string, types.is_large_string, types.is_string_view)):
        return texts(column.cast(pa.large_string())) if types.is_null(column.type) else _refuse(column, "texts")
    column.validate(full=True)
    return column.cast(pa.large_string())


def names(column: pa.Array) -> pa.Array:
    """Return a column of ids or labels, which may be texts, integers or Booleans, as large strings."""
    if pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):
        return column.cast(pa.large_string())
    return texts(column)


def numbers(column: pa.Array) -> pa.Array:
    """Return a column of numbers or Booleans as 64-bit floats."""
    types = pa.types
    if any(is_number(column.type) for is_number in (types.is_integer, types.is_floating, types.is_decimal)):
        return column.cast(pa.float64())
    if types.is_boolean(column.type) or types.is_null(column.type):
        return column.cast(pa.int8()).cast(pa.float64())
    return _refuse(column, "numbers")


def lists_of(kind: Kind) -> Kind:
    """Return what reads a column of lists whose items are of ``kind``."""

    def read(column: pa.Array) -> pa.Array:
        types = pa.types
        if types.is_null(column.type):
            return column.cast(pa.large_list(pa.null()))
        if not any(test(column.type) for test in (types.is_list, types.is_large_list, types.is_fixed_size_list)):
            return _refuse(column, f"lists of {kind.__name__}")
        items = kind(_decode(column.flatten()))
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
        missing = items.is_null().to_numpy(zero_copy_only=False)
        if missing.any():
            row = int(np.searchsorted(np.cumsum(lengths), np.flatnonzero(missing)[0], side="right"))
            raise ValueError(f"row {row + 1} lists a null")
        mask = column.is_null() if column.null_count else None
        return pa.LargeListArray.from_arrays(pa.array(np.cumsum([0, *lengths]), pa.int64()), items, mask=mask)

    return read


def read_table(path: Path, columns: Mapping[str, Kind], optional: Mapping[str, Kind] = MappingProxyType({})) -> Columns:
    """Return ``columns`` of the file, and those of ``optional`` that it has, each read as its kind; none has nulls."""
    table = _read_once(path, {**columns, **optional})
    for name in columns:
        if name not in table.column_names:
            raise TrainingDataError(f"{path} lacks the column {name!r}; it has {', '.join(pq.read_schema(path).names)}")
    found = {}
    for name, kind in {**columns, **optional}.items():
        if name not in table.column_names:
            continue
        if table[name].null_count:
            raise TrainingDataError(f"{path}: row {_first_null(table[name]) + 1}: column {name} is null")
        try:
            found[name] = kind(_decode(join_chunks(table[name])))
        except (ValueError, pa.ArrowException) as error:
            raise TrainingDataError(f"{path}: column {name}: {error}") from error
    return found


def _read_once(path: Path, columns: Collection[str]) -> pa.Table:
    """Return those of ``columns`` that the file has; raise TrainingDataError if it has one twice, or is none."""
    try:
        there = pq.read_schema(path).names
        wanted = [name for name in columns if name in there]
        for name in wanted:
            if there.count(name) > 1:
                raise TrainingDataError(f"{path} holds the column {name!r} twice; rename one of them")
        return pq.read_table(path, columns=wanted)
    except (OSError, pa.ArrowInvalid) as error:
        raise TrainingDataError(f"{path} cannot be read as Parquet: {error}") from error


def _decode(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _refuse(column: pa.Array, wanted: str) -> pa.Array:
    raise ValueError(f"it holds {column.type}, not {wanted}")


def read_id_lists(samples: Columns, column: str, ids: pa.Array, where: Path) -> Lists:
    """Return a column of lists of ids as lists of the ids' positions in ``ids``."""
    lists = samples[column]
    lengths = pc.list_value_length(lists).to_numpy().astype(np.int64)
    values = lists.flatten()
    rows = pc.index_in(values, ids)
    if rows.null_count:
        position = _first_null(rows)
        sample = int(np.searchsorted(np.cumsum(lengths), position, side="right"))
        raise TrainingDataError(
            f"{name_row(samples, sample, where)}: column {column} names the text {values[position].as_py()!r}, "
            "which texts.parquet does not hold"
        )
    return Lists.of(lengths, rows.to_numpy().astype(np.int32))


def read_score_lists(samples: Columns, column: str, of: Lists, where: Path) -> Lists | None:
    """Return a column of lists of scores, one for each item of the lists ``of``; None if the column is not there."""
    if column not in samples:
        return None
    lists = samples[column]
    lengths = pc.list_value_length(lists).to_numpy().astype(np.int64)
    wrong = np.flatnonzero(lengths != of.lengths)
    if len(wrong):
        row = int(wrong[0])
        raise TrainingDataError(
            f"{name_row(samples, row, where)}: column {column} holds {lengths[row]} scores for {of.lengths[row]} texts"
        )
    scores = lists.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    for place in np.flatnonzero(np.isinf(scores))[:1]:
        row = int(np.searchsorted(np.cumsum(lengths), place, side="right"))
        raise TrainingDataError(
            f"{name_row(samples, row, where)}: column {column} holds {scores[place]}; give a number, or NaN for none"
        )
    return Lists.of(lengths, scores)


def join_chunks(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array."""
    return pa.concat_arrays(column.unify_dictionaries().chunks) if column.num_chunks else pa.array([], column.type)


def name_row(samples: Columns, row: int, where: Path) -> str:
    """Return how an error names a row of the samples."""
    return f"{where}: row {row + 1} (sample_id {samples['sample_id'][row].as_py()!r})"


def _first_null(column: pa.Array | pa.ChunkedArray) -> int:
    row: int = pc.index(column.is_null(), pa.scalar(True)).as_py()
    return row
