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
FEWEST_PER_BLOCK, MOST_PER_BLOCK = 64, 8_192
"""Queries."""
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

    Where the rows of a query lie is looked up once: 24 bytes a query, or for each :data:`FEWEST_PER_BLOCK` where the
    table holds blocks of queries in the order of their hashes. What is read is all that lies between the first and the
    last row of the queries asked for: little if they are asked for in the order they were written in.
    """

    def __init__(self, table: pl.LazyFrame) -> None:
        self._table = table
        hashes, first, last = _queries_of(table)
        self._blocks = _blocks(hashes, first, last) or _each(hashes, first, last)

    def rows_of(self, query_ids: pl.Series) -> pl.DataFrame:
        """Return the rows of those queries, in the table's order."""
        lowest, highest, first, last = self._blocks
        wanted = query_ids.hash().to_numpy()
        place = np.searchsorted(lowest, wanted, side="right") - 1
        place = place[(place >= 0) & (wanted <= highest[place])] if len(lowest) else place[:0]
        if not len(place):
            return self._table.clear().collect()
        start, stop = int(first[place].min()), int(last[place].max())
        between = self._table.slice(start, stop - start + 1)
        return between.filter(pl.col("query_id").is_in(query_ids.implode())).collect()


Blocks = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""The lowest and the highest hash of the queries of each block, and its first and last row; by hash."""


def _queries_of(table: pl.LazyFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the hash of the query of every run of rows, and the numbers of its first and last row, as they lie."""
    hashes = table.select(pl.col("query_id").hash())
    parts = [(np.empty(0, np.uint64), np.empty(0, ROW), np.empty(0, ROW))]
    for start in range(0, table.select(pl.len()).collect().item(), ROWS_PER_LOOK):
        part = hashes.slice(start, ROWS_PER_LOOK).collect().to_series().to_numpy()
        first = _changes(part)
        last = np.append(first[1:], len(part)) - 1
        parts.append((part[first], (start + first).astype(ROW), (start + last).astype(ROW)))
    queries, first, last = (np.concatenate(column) for column in zip(*parts, strict=True))
    return queries, first, last


def _blocks(hashes: np.ndarray, first: np.ndarray, last: np.ndarray) -> Blocks | None:
    """Return blocks of rows whose queries' hashes are all below those of the next; None where they would be large."""
    if not len(hashes):
        return None
    below = np.maximum.accumulate(hashes)[:-1] < np.minimum.accumulate(hashes[::-1])[::-1][1:]
    borders = np.flatnonzero(below) + 1
    starts = np.concatenate([[0], borders[np.flatnonzero(np.diff(borders // FEWEST_PER_BLOCK, prepend=0))]])
    stops = np.append(starts[1:], len(hashes))
    if (stops - starts).max() > MOST_PER_BLOCK:
        return None
    lowest, highest = _reduced(np.minimum, hashes, starts), _reduced(np.maximum, hashes, starts)
    return lowest, highest, first[starts], last[stops - 1]


def _each(hashes: np.ndarray, first: np.ndarray, last: np.ndarray) -> Blocks:
    """Return a block for each query: all that lies between its first row and its last."""
    order = np.argsort(hashes, kind="stable")
    hashes = hashes[order]
    starts = _changes(hashes)
    lowest = hashes[starts]
    return lowest, lowest, _reduced(np.minimum, first[order], starts), _reduced(np.maximum, last[order], starts)


def _changes(values: np.ndarray) -> np.ndarray:
    """Return where each run of equal values begins."""
    return np.flatnonzero(np.append(True, values[1:] != values[:-1])[: len(values)])


def _reduced(function: np.ufunc, values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    reduced: np.ndarray = function.reduceat(values, starts) if len(starts) else values
    return reduced
