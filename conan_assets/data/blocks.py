"""Tables read and written block by block, so that memory does not grow with their rows."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

BLOCK_ROWS = 16_384


def read_blocks(rows: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """Yield ``rows`` in blocks of BLOCK_ROWS; a slice of a scanned file reads nothing but its own rows."""
    for start in range(0, rows.select(pl.len()).collect().item(), BLOCK_ROWS):
        yield rows.slice(start, BLOCK_ROWS).collect()


def write_blocks(blocks: Iterable[pl.DataFrame], path: Path, empty: pl.DataFrame) -> None:
    """Write blocks as the row groups of one Parquet file; ``empty`` has their columns and types."""
    with pq.ParquetWriter(path, _arrow(empty).schema, compression="zstd") as writer:
        for block in blocks:
            if block.height:
                writer.write_table(_arrow(block.select(empty.columns)))


def _arrow(frame: pl.DataFrame) -> "pq.pa.Table":
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())
