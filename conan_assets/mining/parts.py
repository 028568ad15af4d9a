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
        row = pl.col("row")
        found = table.select(query=pl.col("query_id").hash()).with_row_index("row")
        spans = found.group_by("query").agg(row.min().alias("first"), row.max().alias("last")).sort("query")
        self._table = table
        self._spans = spans.collect(engine="streaming")

    def rows_of(self, query_ids: pl.Series) -> pl.DataFrame:
        """Return the rows of those queries, in the table's order."""
        known, wanted = self._spans["query"].to_numpy(), query_ids.hash().to_numpy()
        place = np.minimum(np.searchsorted(known, wanted), max(len(known) - 1, 0))
        spans = self._spans[place[known[place] == wanted]] if len(known) else self._spans
        if spans.is_empty():
            return self._table.clear().collect()
        first, last = int(spans["first"].min()), int(spans["last"].max())  # type: ignore[arg-type]
        between = self._table.slice(first, last - first + 1)
        return between.filter(pl.col("query_id").is_in(query_ids.implode())).collect()
