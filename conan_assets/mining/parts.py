"""Tables that are written and read in parts, so that memory holds some thousand queries' rows, however many there are.

A table is one Parquet file. Each part is a row group of its own, and holds all rows of its queries.
"""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import polars as pl
import pyarrow.parquet as pq

ROWS_PER_LOOK = 1_000_000
ROW = np.uint32
"""Type of a row's number, polars' own."""


class TableWriter:
    """Writes a Parquet file part by part; a context manager."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer:
            self._writer.close()

    def add(self, part: pl.DataFrame) -> None:
        """Write the rows of some queries."""
        rows = part.to_arrow(compat_level=pl.CompatLevel.oldest())
        self._writer = self._writer or pq.ParquetWriter(self._path, rows.schema, compression="zstd")
        self._writer.write_table(rows, row_group_size=max(len(rows), 1))


def parts_of(path: Path) -> Iterator[pl.DataFrame]:
    """Yield the parts of a table as they were written."""
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            yield pl.DataFrame(file.read_row_group(number))


class TableReader:
    """Reads the rows of some queries out of a table.

    Where the rows of a query lie is looked up once, 16 bytes a query. What is read is all that lies between the first
    and the last row of the queries asked for: little if they are asked for in the order they were written in.
    """

    def __init__(self, table: pl.LazyFrame) -> None:
        self._table = table
        self._queries, self._first, self._last = _spans(table)

    def rows_of(self, query_ids: pl.Series) -> pl.DataFrame:
        """Return the rows of those queries, in the table's order."""
        wanted = query_ids.hash().to_numpy()
        place = np.minimum(np.searchsorted(self._queries, wanted), max(len(self._queries) - 1, 0))
        place = place[self._queries[place] == wanted] if len(self._queries) else place[:0]
        if not len(place):
            return self._table.clear().collect()
        first, last = int(self._first[place].min()), int(self._last[place].max())
        between = self._table.slice(first, last - first + 1)
        return between.filter(pl.col("query_id").is_in(query_ids.implode())).collect()


def _spans(table: pl.LazyFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the hash of every query, sorted, and the numbers of its first and of its last row."""
    hashes = table.select(pl.col("query_id").hash())
    parts = [(np.empty(0, np.uint64), np.empty(0, ROW), np.empty(0, ROW))]
    for start in range(0, table.select(pl.len()).collect().item(), ROWS_PER_LOOK):
        part = hashes.slice(start, ROWS_PER_LOOK).collect().to_series().to_numpy()
        first = _changes(part)
        last = np.append(first[1:], len(part)) - 1
        parts.append((part[first], (start + first).astype(ROW), (start + last).astype(ROW)))
    queries, first, last = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(queries, kind="stable")
    queries = queries[order]
    starts = _changes(queries)
    return queries[starts], _reduced(np.minimum, first[order], starts), _reduced(np.maximum, last[order], starts)


def _changes(values: np.ndarray) -> np.ndarray:
    """Return where each run of equal values begins."""
    return np.flatnonzero(np.append(True, values[1:] != values[:-1])[: len(values)])


def _reduced(function: np.ufunc, values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    reduced: np.ndarray = function.reduceat(values, starts) if len(starts) else values
    return reduced
