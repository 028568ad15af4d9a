"""Embeddings made elsewhere: an array, or a ``.npy`` file that is read block by block and never held whole."""

import os
from pathlib import Path

import numpy as np


class ArrayVectors:
    """Rows of an array in memory, float32 or float16 of shape (rows, dim)."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values
        self.shape = (values.shape[0], values.shape[1])

    def block(self, start: int, stop: int) -> np.ndarray:
        """Return rows ``start`` to ``stop`` as float32."""
        return self._values[start:stop].astype(np.float32, copy=False)

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Return those rows as float32."""
        return self._values[indices].astype(np.float32, copy=False)


class FileVectors:
    """Rows of a ``.npy`` file; nothing of it stays in memory.

    Raises
    ------
    ValueError
        The file does not hold a two-dimensional C-ordered array of floats.
    """

    def __init__(self, path: Path) -> None:
        mapped = np.load(path, mmap_mode="r")
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
        return self._offset + row * self.shape[1] * self._dtype.itemsize


class PickedVectors:
    """Chosen rows of other vectors, in the order given."""

    def __init__(self, vectors: "ArrayVectors | FileVectors", picked: np.ndarray) -> None:
        self._vectors = vectors
        self._picked = picked
        self.shape = (len(picked), vectors.shape[1])

    def block(self, start: int, stop: int) -> np.ndarray:
        """Return rows ``start`` to ``stop`` as float32."""
        return self._vectors.rows(self._picked[start:stop])

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Return those rows as float32."""
        return self._vectors.rows(self._picked[indices])


def open_vectors(source: np.ndarray | Path | str) -> ArrayVectors | FileVectors:
    """Return embeddings given as an array or as the path of a ``.npy`` file."""
    return ArrayVectors(source) if isinstance(source, np.ndarray) else FileVectors(Path(source))
