"""Embeddings on disk, addressed by content: a text is encoded once per encoder, whoever asks for it.

A namespace is the fingerprint of an encoder and prompt, a row's key the hash of its text. Rows live in append-only
shards: ``<shard>.npy`` (vectors, memory-mapped) and ``<shard>.keys.npy`` (16 bytes a row). The keys are written last,
each file under a temporary name first, so a shard with keys is whole and a killed run loses one shard.
"""

import hashlib
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from conan_assets.artifacts import atomic_path
from conan_assets.cleaning import mark_as_read
from conan_assets.progress import Progress

if TYPE_CHECKING:
    from conan_assets.encoding.encoder import Encoder, Role

ROWS_PER_SHARD = 16_384
KEY = np.dtype("S16")


class Embeddings:
    """Stored rows in the order they were asked for, read from memory-mapped shards block by block.

    Attributes
    ----------
    shape
        (rows, dim).
    encoded
        How many texts had to be encoded because they were not in the store.
    seconds
        Seconds that encoding took.
    """

    def __init__(
        self, shards: list[np.ndarray], shard: np.ndarray, row: np.ndarray, encoded: int, seconds: float
    ) -> None:
        self._shards = shards
        self._shard = shard
        self._row = row
        self.encoded = encoded
        self.seconds = seconds
        self.shape = (len(row), shards[0].shape[1] if shards else 0)

    def __len__(self) -> int:
        return len(self._row)

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Return those rows as float32 of shape (len(indices), dim)."""
        rows = np.empty((len(indices), self.shape[1]), np.float32)
        shard, row = self._shard[indices], self._row[indices]
        for number in np.unique(shard):
            here = np.flatnonzero(shard == number)
            rows[here] = self._shards[number][row[here]]
        return rows

    def block(self, start: int, stop: int) -> np.ndarray:
        """Return rows ``start`` to ``stop`` as float32 of shape (stop - start, dim)."""
        return self.rows(np.arange(start, min(stop, len(self))))

    def blocks(self, size: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (first row, float32 block of at most ``size`` rows) over all rows."""
        for start in range(0, len(self), size):
            yield start, self.block(start, start + size)


class EmbeddingStore:
    """The store below one directory; safe for several processes, each appends shards of its own.

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

    def embed(self, encoder: "Encoder", texts: Sequence[str], role: "Role") -> Embeddings:
        """Return the embeddings of ``texts`` in order, encoding and storing only those the store does not have."""
        folder = self.root / f"{encoder.namespace(role)}-{self.dtype.name}"
        mark_as_read(folder)
        keys = np.array([_key(text) for text in texts], dtype=KEY)
        known = _Index(folder)
        missing = np.flatnonzero(~known.contains(keys))
        _, first = np.unique(keys[missing], return_index=True)
        missing = missing[np.sort(first)]
        started = time.monotonic()
        if len(missing):
            self._encode_into(folder, encoder, role, texts, keys, missing)
            known = _Index(folder)
        shard, row = known.locate(keys)
        return Embeddings(known.shards, shard, row, len(missing), time.monotonic() - started)

    def _encode_into(
        self,
        folder: Path,
        encoder: "Encoder",
        role: "Role",
        texts: Sequence[str],
        keys: np.ndarray,
        missing: np.ndarray,
    ) -> None:
        progress = Progress("storing embeddings", len(missing))
        for start in range(0, len(missing), ROWS_PER_SHARD):
            part = missing[start : start + ROWS_PER_SHARD]
            vectors = encoder.encode([texts[i] for i in part], role)
            name = uuid.uuid4().hex
            for suffix, rows in (("", vectors.astype(self.dtype)), (".keys", keys[part])):
                with atomic_path(folder / f"{name}{suffix}.npy") as path, path.open("wb") as file:
                    np.save(file, rows)
            progress.advance(len(part))


class _Index:
    """Where every stored key of a namespace is: sorted keys beside the shard and row of each."""

    def __init__(self, folder: Path) -> None:
        key_files = sorted(folder.glob("*.keys.npy"))
        keys = [np.load(path) for path in key_files]
        self.shards = [np.load(path.with_name(path.name.replace(".keys", "")), mmap_mode="r") for path in key_files]
        every_key = np.concatenate(keys) if keys else np.empty(0, KEY)
        shard = np.repeat(np.arange(len(keys), dtype=np.int32), [len(part) for part in keys])
        row = np.concatenate([np.arange(len(part), dtype=np.int64) for part in keys]) if keys else np.empty(0, np.int64)
        order = np.argsort(every_key, kind="stable")
        self._keys, self._shard, self._row = every_key[order], shard[order], row[order]

    def contains(self, keys: np.ndarray) -> np.ndarray:
        if not len(self._keys):
            return np.zeros(len(keys), bool)
        return self._keys[self._position(keys)] == keys

    def locate(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        position = self._position(keys)
        return self._shard[position], self._row[position]

    def _position(self, keys: np.ndarray) -> np.ndarray:
        return np.minimum(np.searchsorted(self._keys, keys), max(len(self._keys) - 1, 0))


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest().encode()
