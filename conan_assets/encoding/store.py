"""Embeddings on disk, addressed by content: a text is encoded once per encoder, whoever asks for it.

A namespace is the fingerprint of an encoder and prompt, a row's key the hash of its text. Rows are appended block by
block, so that a killed run loses one block; see ``rows.py`` for the files.
"""

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from conan_assets.cleaning import mark_as_read
from conan_assets.encoding.rows import KEY, StoredRows
from conan_assets.progress import Progress

if TYPE_CHECKING:
    from conan_assets.encoding.encoder import Encoder, Role

ROWS_PER_PART = 16_384


class Embeddings:
    """Stored rows in the order they were asked for, read block by block from the file that they are mapped from.

    Attributes
    ----------
    shape
        (rows, dim).
    encoded, cut, seconds
        How many texts had to be encoded because they were not in the store, how many of these lost their ends to the
        limit of tokens, and how long that took.
    """

    def __init__(self, stored: np.ndarray, numbers: np.ndarray, encoded: int, cut: int, seconds: float) -> None:
        self._stored, self._numbers = stored, numbers
        self.encoded, self.cut, self.seconds = encoded, cut, seconds
        self.shape = (len(numbers), stored.shape[1])

    def __len__(self) -> int:
        return len(self._numbers)

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Return those rows as float32 of shape (len(indices), dim)."""
        return np.asarray(self._stored[self._numbers[indices]], np.float32)

    def block(self, start: int, stop: int) -> np.ndarray:
        """Return rows ``start`` to ``stop`` as float32 of shape (stop - start, dim)."""
        return self.rows(np.arange(start, min(stop, len(self))))


class EmbeddingStore:
    """The store below one directory; safe for several processes. Each index is loaded once, each row checked once.

    Parameters
    ----------
    root
        Directory that holds a sub-directory per namespace.
    dtype
        Type of the stored components, "float16" or "float32".
    """

    def __init__(self, root: Path, dtype: str = "float16") -> None:
        self.root = root
        self.dtype = np.dtype(dtype)
        self._opened: dict[Path, StoredRows] = {}

    def embed(self, encoder: "Encoder", texts: Sequence[str], role: "Role") -> Embeddings:
        """Return the embeddings of ``texts`` in order, encoding and storing only those the store does not have."""
        folder = self.root / f"{encoder.namespace(role)}-{self.dtype.name}"
        mark_as_read(folder)
        rows = self._opened.setdefault(folder, StoredRows(folder, self.dtype))
        keys = np.array([_key(text) for text in texts], dtype=KEY)
        numbers = rows.locate(keys)
        missing = np.flatnonzero(numbers < 0)
        missing = missing[np.sort(np.unique(keys[missing], return_index=True)[1])]
        started, cut_before = time.monotonic(), encoder.texts_cut
        if len(missing):
            progress = Progress("storing embeddings", len(missing))
            for start in range(0, len(missing), ROWS_PER_PART):
                part = missing[start : start + ROWS_PER_PART]
                rows.append(keys[part], encoder.encode([texts[i] for i in part], role))
                progress.advance(len(part))
            numbers = rows.locate(keys)
        cut = encoder.texts_cut - cut_before
        return Embeddings(rows.map(), numbers, len(missing), cut, time.monotonic() - started)


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=KEY.itemsize).digest()
