"""Embeddings on disk, addressed by content: a text is encoded once per encoder, whoever asks for it.

A namespace is the fingerprint of an encoder and prompt, a row's key the hash of its text. Rows are appended block by
block, so that a killed run loses one block; see ``rows.py`` for the files.
"""

import hashlib
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from conan_assets.cleaning import mark_as_read
from conan_assets.compute import IN_PROCESS, Compute, Result
from conan_assets.encoding.models import require_same_model
from conan_assets.encoding.row_index import KEY
from conan_assets.encoding.rows import StoredRows
from conan_assets.progress import Progress

if TYPE_CHECKING:
    from conan_assets.encoding.encoder import Encoder, Role

ROWS_PER_SHARD = 4_096
"""Whole chunks of an encoder, so that its rows are the same bytes whoever computes them."""
SHARDS_PER_PART = 4


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
    compute
        Who encodes.
    """

    def __init__(self, root: Path, dtype: str = "float16", compute: Compute = IN_PROCESS) -> None:
        self.root = root
        self.dtype = np.dtype(dtype)
        self.compute = compute
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
        started, cut = time.monotonic(), 0
        if len(missing):
            progress = Progress("storing embeddings", len(missing))
            shards = [missing[start : start + ROWS_PER_SHARD] for start in range(0, len(missing), ROWS_PER_SHARD)]
            work = EncodeTexts(encoder, role, encoder.namespace(role))
            encoded = self.compute.map(work, [[texts[i] for i in shard] for shard in shards])
            for start in range(0, len(shards), SHARDS_PER_PART):
                part = shards[start : start + SHARDS_PER_PART]
                for done in _all_that_come(encoded, len(part)):
                    rows.append(keys[np.concatenate(part[: len(done)])], np.concatenate([each for each, _ in done]))
                    cut += sum(count for _, count in done)
                progress.advance(sum(map(len, part)))
            numbers = rows.locate(keys)
        return Embeddings(rows.map(), numbers, len(missing), cut, time.monotonic() - started)


@dataclass(frozen=True)
class EncodeTexts:
    """The embeddings of a shard of texts, and how many of the texts lost their ends to the limit of tokens.

    Attributes
    ----------
    namespace
        What the encoder's must be wherever it is loaded.
    """

    encoder: "Encoder"
    role: "Role"
    namespace: str

    def __call__(self, texts: Sequence[str]) -> tuple[np.ndarray, int]:
        """Return float32 of shape (len(texts), dim), and the count; OtherModelError where the model is another."""
        require_same_model(self.encoder.settings.model, self.encoder.namespace(self.role), self.namespace)
        before = self.encoder.texts_cut
        vectors = self.encoder.encode(texts, self.role)
        return vectors, self.encoder.texts_cut - before


def _all_that_come(results: Iterator[Result], count: int) -> Iterator[list[Result]]:
    """Yield the next ``count`` results as one list; or, before an error that ends them, those that came."""
    taken: list[Result] = []
    try:
        taken.extend(itertools.islice(results, count))
    except Exception:
        if taken:
            yield taken
        raise
    yield taken


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=KEY.itemsize).digest()
