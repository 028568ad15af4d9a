"""Who scores documents: BM25, bi-encoders and cross-encoders behind one interface. The student is a bi-encoder."""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from conan_assets.lexical import BM25
from conan_assets.mining.collection import Collection
from conan_assets.mining.ranking import EMPTY, Neighbours, pack
from conan_assets.mining.search import FirstRows, nearest
from conan_assets.mining.settings import BiEncoderTeacher, BM25Teacher, TeacherSettings
from conan_assets.progress import Progress

if TYPE_CHECKING:
    from conan_assets.encoding.encoder import Encoder, Role
    from conan_assets.encoding.store import Embeddings, EmbeddingStore

PAIRS_PER_CHUNK = 65_536


class Scorer(Protocol):
    """A teacher, or the student, over one collection."""

    @property
    def encoded(self) -> int:
        """Number of texts, or pairs for a cross-encoder, that had to be computed so far."""
        ...

    @property
    def seconds(self) -> float:
        """Seconds that took."""
        ...

    def search(self, k: int) -> Neighbours:
        """Return every query's ``k`` best corpus documents without its positives."""
        ...

    def score(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return the score of each (query, document) pair of positions, float32 of shape (pairs,)."""
        ...


class BM25Scorer:
    """BM25 over the texts of a collection."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._index = BM25(collection.texts.to_list())
        self.encoded = 0
        self.seconds = 0.0

    def search(self, k: int) -> Neighbours:
        """Return every query's ``k`` best documents that share a term with it."""
        collection = self._collection
        k = min(k, collection.corpus_size)
        keys = np.full((len(collection.queries), k), EMPTY, np.int64)
        progress = Progress("searching with BM25", len(keys))
        for row, query in enumerate(collection.queries):
            scores = self._index.scores(query)
            scores[collection.positives[row]] = 0
            found = np.flatnonzero(scores[: collection.corpus_size])
            best = pack(scores[found], found)
            if len(best) > k:
                best = np.partition(best, len(best) - k)[-k:]
            keys[row, : len(best)] = best
            progress.advance()
        return Neighbours.from_keys(keys)

    def score(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return the score of each (query, document) pair of positions."""
        scores = np.empty(len(queries), np.float32)
        order = np.argsort(queries, kind="stable")
        distinct, first = np.unique(queries[order], return_index=True)
        for query, rows in zip(distinct.tolist(), np.split(order, first[1:]), strict=True):
            scores[rows] = self._index.scores(self._collection.queries[query])[documents[rows]]
        return scores


class BiEncoderScorer:
    """Dot products of stored embeddings; texts that are not stored yet are encoded, and only those asked for."""

    def __init__(self, encoder: "Encoder", collection: Collection, store: "EmbeddingStore", checkpoints: Path) -> None:
        self._encoder = encoder
        self._collection = collection
        self._store = store
        self._checkpoints = checkpoints
        self.encoded = 0
        self.seconds = 0.0

    def search(self, k: int) -> Neighbours:
        """Return every query's ``k`` nearest documents, searching the whole corpus."""
        documents = self._embed(self._collection.texts.to_list(), "document")
        queries = self._embed(self._collection.queries.to_list(), "query")
        corpus = FirstRows(documents, self._collection.corpus_size)
        return nearest(queries, corpus, k, self._collection.positives, self._checkpoints)

    def score(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return the score of each (query, document) pair of positions."""
        query_rows, query_of = np.unique(queries, return_inverse=True)
        document_rows, document_of = np.unique(documents, return_inverse=True)
        left = self._embed(self._collection.queries.gather(query_rows).to_list(), "query")
        right = self._embed(self._collection.texts.gather(document_rows).to_list(), "document")
        scores = np.empty(len(queries), np.float32)
        for start in range(0, len(queries), PAIRS_PER_CHUNK):
            part = slice(start, start + PAIRS_PER_CHUNK)
            scores[part] = np.einsum("ij,ij->i", left.rows(query_of[part]), right.rows(document_of[part]))
        return scores

    def _embed(self, texts: list[str], role: "Role") -> "Embeddings":
        embeddings = self._store.embed(self._encoder, texts, role)
        self.encoded += embeddings.encoded
        self.seconds += embeddings.seconds
        return embeddings


def open_scorer(settings: TeacherSettings, collection: Collection, store: "EmbeddingStore", workdir: Path) -> Scorer:
    """Return the scorer of a teacher over ``collection``; unfinished searches resume from ``workdir``."""
    if isinstance(settings, BM25Teacher):
        return BM25Scorer(collection)
    if isinstance(settings, BiEncoderTeacher):
        from conan_assets.encoding.encoder import Encoder

        return BiEncoderScorer(Encoder(settings.encoder), collection, store, workdir)
    from conan_assets.mining.cross_encoder import CrossEncoderScorer

    first_stage = BM25Teacher() if settings.first_stage is None else BiEncoderTeacher(encoder=settings.first_stage)
    return CrossEncoderScorer(settings, collection, open_scorer(first_stage, collection, store, workdir), store.root)
