"""A cross-encoder as a retriever: it re-scores a first stage's candidates, each pair of texts once for ever."""

import hashlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from conan_assets.cleaning import mark_as_read
from conan_assets.encoding.row_index import KEY
from conan_assets.encoding.rows import StoredRows
from conan_assets.progress import Progress
from conan_assets.search.groups import Groups
from conan_assets.search.pair_scores import SCORE, ScorePairs
from conan_assets.search.ranking import EMPTY, Neighbours, pack
from conan_assets.search.retriever import Effort, Retriever
from conan_assets.search.settings import CrossEncoderTeacher

if TYPE_CHECKING:
    from conan_assets.encoding.store import EmbeddingStore

PAIRS_PER_PART = 8_192


class CrossEncoderRetriever:
    """Scores pairs in batches over all queries, texts of like length together.

    Parameters
    ----------
    first_stage
        Whose best documents :meth:`search` re-scores.
    store
        Of embeddings; the scores are kept beside them, by content, and computed by whoever encodes.

    Raises
    ------
    TokenLimitError
        ``max_tokens`` is above the model's positions; raised when it is loaded to score pairs.
    """

    def __init__(
        self, settings: CrossEncoderTeacher, documents: Sequence[str], first_stage: Retriever, store: "EmbeddingStore"
    ) -> None:
        self._documents = documents
        self._first_stage = first_stage
        self._compute = store.compute
        self._scorer = ScorePairs(settings)
        folder = store.root / f"pairs-{self._scorer.namespace()}-{SCORE.name}"
        mark_as_read(folder)
        self._scores = StoredRows(folder, SCORE)
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
        keys = np.array([_key(query, text) for query, text in zip(left, right, strict=True)], KEY)
        missing = self._scores.locate(keys) < 0
        self._score({keys[i]: (left[i], right[i]) for i in np.flatnonzero(missing)})
        scores: np.ndarray = self._scores.map()[self._scores.locate(keys)].reshape(len(keys))
        return scores

    def _score(self, pairs: dict[bytes, tuple[str, str]]) -> None:
        started = time.monotonic()
        ordered = sorted(pairs, key=lambda key: -sum(map(len, pairs[key])))
        progress = Progress("scoring pairs", len(ordered))
        parts = [ordered[start : start + PAIRS_PER_PART] for start in range(0, len(ordered), PAIRS_PER_PART)]
        scored = self._compute.map(self._scorer, [[pairs[key] for key in part] for part in parts])
        for part, scores in zip(parts, scored, strict=True):
            self._scores.append(np.array(part, KEY), scores)
            progress.advance(len(part))
        self.effort.encoded += len(ordered)
        self.effort.seconds += time.monotonic() - started


def _key(query: str, text: str) -> bytes:
    return hashlib.blake2b(f"{len(query)} {query}{text}".encode(), digest_size=KEY.itemsize).digest()
