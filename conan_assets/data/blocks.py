"""Tables and texts on disk, written and read block by block, so that memory does not grow with them."""

import os
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
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


class TextFile:
    """A file of texts, numbered from 0 in the order they were added; 8 bytes of memory a text.

    Parameters
    ----------
    path
        The file, created anew.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("w+b")
        self._lengths = [np.zeros(1, np.int64)]

    def __len__(self) -> int:
        return sum(map(len, self._lengths)) - 1

    def append(self, texts: pl.Series) -> None:
        """Add ``texts`` at the end; a null is an empty text."""
        texts = texts.fill_null("")
        self._file.write("".join(texts.to_list()).encode())
        self._file.flush()
        self._lengths.append(texts.str.len_bytes().to_numpy().astype(np.int64))
        self.__dict__.pop("_ends", None)

    def sizes(self, numbers: np.ndarray) -> np.ndarray:
        """Return the bytes of those texts, int64 of shape (len(numbers),)."""
        lengths: np.ndarray = self._ends[numbers + 1] - self._ends[numbers]
        return lengths

    def gather(self, numbers: np.ndarray) -> pl.Series:
        """Return those texts."""
        starts, sizes = self._ends[numbers].tolist(), self.sizes(numbers).tolist()
        source = self._file.fileno()
        texts = [os.pread(source, size, start).decode() for start, size in zip(starts, sizes, strict=True)]
        return pl.Series(texts, dtype=pl.String)

    @cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum(np.concatenate(self._lengths))


def blocks_by_size(sizes: np.ndarray, limit: int) -> Iterator[slice]:
    """Yield slices over ``sizes`` whose sums stay within ``limit``, but for items that exceed it on their own."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + limit, side="right")))
        yield slice(start, stop)
        start = stop
