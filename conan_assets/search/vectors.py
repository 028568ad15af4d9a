"""Rows of vectors, read block by block and never held whole: stored embeddings, arrays, ``.npy`` files."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

PAIRS_PER_CHUNK = 4_096


class Matrix(Protocol):
    """Vectors that are read block by block, such as ``encoding.store.Embeddings``."""

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, dim)."""
        ...

    def block(self, start: int, stop: int) -> np.ndarray:
        """Return rows ``start`` to ``stop`` as float32."""
        ...


class Vectors(Matrix, Protocol):
    """A matrix whose single rows can be read too."""

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Return those rows as float32."""
        ...


def blocks_of(matrix: Matrix, size: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (first row, float32 block of at most ``size`` rows) over all rows."""
    for start in range(0, matrix.shape[0], size):
        yield start, matrix.block(start, min(start + size, matrix.shape[0]))


def finite_blocks_of(matrix: Matrix, size: int, what: str) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the blocks of a matrix of ``what`` ("document", ...); ValueError names the first vector not finite."""
    for start, block in blocks_of(matrix, size):
        require_finite(block, what, start)
        yield start, block


def require_finite(block: np.ndarray, what: str, first: int) -> None:
    """Raise ValueError naming the first row of ``block``, the ``first``-th of its matrix, with NaN or infinity."""
    if not np.isfinite(block.sum()):
        bad = np.flatnonzero(~np.isfinite(block).all(axis=1))
        if len(bad):
            raise ValueError(f"the vector of {what} {first + bad[0]} holds NaN or infinity: encode it again")


def paired_products(left: Vectors, right: Vectors, left_rows: np.ndarray, right_rows: np.ndarray) -> np.ndarray:
    """Return the dot product of each pair of rows, float32 of shape (pairs,), block by block."""
    products = np.empty(len(left_rows), np.float32)
    for start in range(0, len(left_rows), PAIRS_PER_CHUNK):
        part = slice(start, start + PAIRS_PER_CHUNK)
        products[part] = np.einsum("ij,ij->i", left.rows(left_rows[part]), right.rows(right_rows[part]))
    return products


@dataclass(frozen=True)
class FirstRows:
    """The first ``count`` rows of a matrix."""

    matrix: Matrix
    count: int

    @property
    def shape(self) -> tuple[int, int]:
        """(count, dim)."""
        return self.count, self.matrix.shape[1]

    def block(self, start: int, stop: int) -> np.ndarray:
        """Return rows ``start`` to ``stop`` as float32."""
        return self.matrix.block(start, min(stop, self.count))


class ArrayVectors:
    """Rows of an array in memory, float32 or float16 of shape (rows, dim)."""

    def __init__(self, values: np.ndarray) -> None:
        if values.ndim != 2:
            raise ValueError(f"embeddings are rows of numbers, and the array has the shape {values.shape}")
        self._values = values
        self.shape = (values.shape[0], values.shape[1])

    def block(self, start: int, stop: int) -> np.ndarray:
        """Return rows ``start`` to ``stop`` as float32."""
        return self._values[start:stop].astype(np.float32, copy=False)

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Return those rows as float32."""
        rows: np.ndarray = self._values[indices].astype(np.float32, copy=False)
        return rows


class FileVectors:
    """Rows of a ``.npy`` file; nothing of it stays in memory.

    Raises
    ------
    ValueError
        The file is damaged, or does not hold a two-dimensional C-ordered array of floats.
    """

    def __init__(self, path: Path) -> None:
        try:
            mapped = np.lib.format.open_memmap(path, mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(
                f"{path} is no .npy file of numbers that can be read ({error}); write it again with numpy.save"
            ) from error
        if mapped.ndim != 2 or mapped.dtype.kind != "f" or not mapped.flags.c_contiguous:
            raise ValueError(
                f"{path} holds {mapped.dtype} of shape {mapped.shape}; embeddings are float rows, C-ordered"
            )
        self._path = path
        self._dtype = mapped.dtype
        self._offset = mapped.offset
        self.shape = (mapped.shape[0], mapped.shape[1])

    def block(self, start: int, stop: int) -> np.ndarray:
        """Return rows ``start`` to ``stop`` as float32."""
        count = (stop - start) * self.shape[1]
        values = np.fromfile(self._path, self._dtype, count, offset=self._position(start))
        return values.reshape(-1, self.shape[1]).astype(np.float32, copy=False)

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Return those rows as float32."""
        values = np.empty((len(indices), self.shape[1]), self._dtype)
        with self._path.open("rb", buffering=0) as file:
            for row, index in zip(values, indices.tolist(), strict=True):
                os.preadv(file.fileno(), [row], self._position(index))
        return values.astype(np.float32, copy=False)

    def _position(self, row: int) -> int:
        start: int = self._offset + row * self.shape[1] * self._dtype.itemsize
        return start


class PickedVectors:
    """Chosen rows of other vectors, in the order given."""

    def __init__(self, vectors: Vectors, picked: np.ndarray) -> None:
        self._vectors = vectors
        self._picked = picked
        self.shape = (len(picked), vectors.shape[1])

    def block(self, start: int, stop: int) -> np.ndarray:
        """Return rows ``start`` to ``stop`` as float32."""
        return self._vectors.rows(self._picked[start:stop])

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Return those rows as float32."""
        return self._vectors.rows(self._picked[indices])


def open_vectors(source: np.ndarray | Path | str) -> Vectors:
    """Return embeddings given as an array or as the path of a ``.npy`` file."""
    return ArrayVectors(source) if isinstance(source, np.ndarray) else FileVectors(Path(source))
