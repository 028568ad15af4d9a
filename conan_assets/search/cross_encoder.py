"""A cross-encoder as a retriever: it re-scores a first stage's candidates, each pair of texts once for ever."""

import hashlib
import time
import uuid
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from conan_assets.artifacts import atomic_path, fingerprint, fingerprint_file
from conan_assets.cleaning import mark_as_read
from conan_assets.encoding.models import locate_model
from conan_assets.progress import Progress
from conan_assets.search.groups import Groups
from conan_assets.search.ranking import EMPTY, Neighbours, pack
from conan_assets.search.retriever import Effort, Retriever
from conan_assets.search.settings import CrossEncoderTeacher

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

PAIRS_PER_SHARD = 8_192
PAIRS_PER_BATCH = 32
_KEY = np.dtype("S32")


class ScoreCache:
    """Scores by key in append-only shards below one folder; a killed run loses the shard it was computing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        mark_as_read(folder)
        shards = [np.load(path) for path in sorted(folder.glob("*.npy"))]
        rows = np.concatenate(shards) if shards else np.empty(0, self._dtype)
        self._scores = dict(zip(rows["key"].tolist(), rows["score"].tolist(), strict=True))

    _dtype = np.dtype([("key", _KEY), ("score", np.float32)])

    def __contains__(self, key: bytes) -> bool:
        return key in self._scores

    def find(self, keys: list[bytes]) -> np.ndarray:
        """Return the scores of keys that are all there, float32."""
        return np.array([self._scores[key] for key in keys], np.float32)

    def add(self, keys: list[bytes], scores: np.ndarray) -> None:
        """Store scores, on disk first."""
        rows = np.empty(len(keys), self._dtype)
        rows["key"], rows["score"] = keys, scores
        with atomic_path(self._folder / f"{uuid.uuid4().hex}.npy") as path, path.open("wb") as file:
            np.save(file, rows)
        self._scores.update(zip(keys, rows["score"].tolist(), strict=True))


class CrossEncoderRetriever:
    """Scores pairs in batches over all queries, texts of like length together.

    Parameters
    ----------
    first_stage
        Whose best documents :meth:`search` re-scores.
    root
        Directory of stored embeddings; the scores are kept beside them, by content.
    """

    def __init__(
        self, settings: CrossEncoderTeacher, documents: Sequence[str], first_stage: Retriever, root: Path
    ) -> None:
        self._settings = settings
        self._documents = documents
        self._first_stage = first_stage
        self._path = locate_model(settings.model, settings.revision)
        self._cache = ScoreCache(root / f"pairs-{self._namespace()}")
        self.effort = Effort()

    def search(self, queries: Sequence[str], k: int, excluded: Groups) -> Neighbours:
        """Return the first stage's ``k`` best documents of every query in the cross-encoder's order."""
        found = self._first_stage.search(queries, k, excluded)
        rows, columns = np.nonzero(found.positions >= 0)
        documents = found.positions[rows, columns]
        keys = np.full(found.positions.shape, EMPTY, np.int64)
        keys[rows, columns] = pack(self.score(queries, rows, documents), documents)
        return Neighbours.from_keys(keys)

    def score(self, queries: Sequence[str], rows: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return the score of each pair of ``queries[rows[i]]`` and document ``documents[i]``, float32 (pairs,)."""
        left = [queries[row] for row in rows.tolist()]
        right = [self._documents[row] for row in documents.tolist()]
        keys = [_key(query, text) for query, text in zip(left, right, strict=True)]
        missing = {
            key: (query, text) for key, query, text in zip(keys, left, right, strict=True) if key not in self._cache
        }
        self._compute(missing)
        return self._cache.find(keys)

    def _compute(self, pairs: dict[bytes, tuple[str, str]]) -> None:
        started = time.monotonic()
        ordered = sorted(pairs, key=lambda key: -sum(map(len, pairs[key])))
        progress = Progress("scoring pairs", len(ordered))
        for start in range(0, len(ordered), PAIRS_PER_SHARD):
            shard = ordered[start : start + PAIRS_PER_SHARD]
            scores = self._model.predict(
                [pairs[key] for key in shard], batch_size=PAIRS_PER_BATCH, show_progress_bar=False
            )
            self._cache.add(shard, np.asarray(scores, np.float32).reshape(len(shard), -1)[:, -1])
            progress.advance(len(shard))
        self.effort.encoded += len(ordered)
        self.effort.seconds += time.monotonic() - started

    @cached_property
    def _model(self) -> "CrossEncoder":
        import torch
        from sentence_transformers import CrossEncoder

        from conan_assets.encoding.precision import choose_dtype

        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = choose_dtype(self._settings.dtype, device, self._path)
        return CrossEncoder(
            str(self._path),
            device=device,
            max_length=self._settings.max_tokens,
            model_kwargs={"dtype": dtype, "use_safetensors": True},
        )

    def _namespace(self) -> str:
        files = sorted(path for path in self._path.rglob("*") if path.is_file() and path.suffix != ".md")
        content = {str(path.relative_to(self._path)): fingerprint_file(path) for path in files}
        return fingerprint(content, self._settings.max_tokens, self._settings.dtype)


def _key(query: str, text: str) -> bytes:
    return hashlib.blake2b(f"{len(query)} {query}{text}".encode(), digest_size=16).hexdigest().encode()
