"""Who scores documents: BM25, bi-encoders and cross-encoders behind one interface. The student is a bi-encoder."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import polars as pl

from conan_assets.artifacts import fingerprint
from conan_assets.lexical import BM25
from conan_assets.mining.collection import Collection
from conan_assets.mining.exact import FirstRows, Matrix
from conan_assets.mining.groups import Groups
from conan_assets.mining.ranking import EMPTY, Neighbours, pack
from conan_assets.mining.search import find_nearest
from conan_assets.mining.settings import BiEncoderTeacher, BM25Teacher, SearchSettings, TeacherSettings
from conan_assets.progress import Progress

if TYPE_CHECKING:
    from conan_assets.encoding.encoder import Encoder, Role
    from conan_assets.encoding.store import Embeddings, EmbeddingStore

PAIRS_PER_CHUNK = 16_384


@dataclass
class Effort:
    """What a scorer had to do so far.

    Attributes
    ----------
    encoded
        Texts, or for a cross-encoder pairs, that were not stored.
    seconds
        Seconds that encoding them took.
    recall
        Share of the exact result that an approximate search found on a sample; None after an exact one.
    """

    encoded: int = 0
    seconds: float = 0.0
    recall: float | None = None


def effort_report(efforts: Iterable[Effort]) -> dict[str, float]:
    """Return texts encoded; texts per second if there were any; the lowest recall after approximate searches."""
    efforts = list(efforts)
    encoded, seconds = sum(effort.encoded for effort in efforts), sum(effort.seconds for effort in efforts)
    recalls = [effort.recall for effort in efforts if effort.recall is not None]
    report: dict[str, float] = {"encoded": encoded}
    if encoded:
        report["texts_per_second"] = round(encoded / seconds, 1)
    if recalls:
        report["recall_of_exact"] = min(recalls)
    return report


class Scorer(Protocol):
    """A teacher, or the student, over one collection."""

    @property
    def effort(self) -> Effort:
        """What it had to do so far."""
        ...

    def search(self, k: int) -> Neighbours:
        """Return every query's ``k`` best corpus documents without its positives."""
        ...

    def score(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return the score of each (query, document) pair of positions, float32 of shape (pairs,)."""
        ...


class Vectors(Matrix, Protocol):
    """A matrix whose single rows can be read too."""

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Return those rows as float32."""
        ...


class BM25Scorer:
    """BM25 over the texts of a collection."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._index = BM25(collection.texts.to_list())
        self.effort = Effort()

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


class VectorScorer:
    """Dot products of embeddings that are there already.

    Parameters
    ----------
    queries, documents
        One row per query and per document of the collection.
    checkpoints
        Directory for the finished blocks of this search; None to keep none.
    """

    def __init__(
        self,
        collection: Collection,
        queries: Vectors,
        documents: Vectors,
        search: SearchSettings,
        checkpoints: Path | None,
    ) -> None:
        self._collection = collection
        self._queries = queries
        self._documents = documents
        self._search = search
        self._checkpoints = checkpoints
        self.effort = Effort()

    def search(self, k: int) -> Neighbours:
        """Return every query's ``k`` nearest documents."""
        corpus = FirstRows(self._documents, self._collection.corpus_size)
        positives = self._collection.positives
        found, self.effort.recall = find_nearest(self._search, self._queries, corpus, k, positives, self._checkpoints)
        return found

    def score(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return the score of each (query, document) pair of positions."""
        return _products(self._queries, self._documents, queries, documents)


class BiEncoderScorer:
    """Dot products of stored embeddings; texts that are not stored yet are encoded, and only those asked for."""

    def __init__(
        self,
        encoder: "Encoder",
        collection: Collection,
        store: "EmbeddingStore",
        search: SearchSettings,
        checkpoints: Path,
    ) -> None:
        self._encoder = encoder
        self._collection = collection
        self._store = store
        self._search = search
        self._checkpoints = checkpoints
        self.effort = Effort()

    def search(self, k: int) -> Neighbours:
        """Return every query's ``k`` nearest documents, searching the whole corpus."""
        return self.search_among(np.arange(self._collection.corpus_size), k)

    def search_among(self, documents: np.ndarray, k: int) -> Neighbours:
        """Return every query's ``k`` nearest of the documents at the given sorted positions, without its positives."""
        texts, positives = self._collection.texts.gather(documents), self._collection.positives
        row = np.full(len(self._collection.texts), -1)
        row[documents] = np.arange(len(documents))
        members = row[positives.members]
        hidden = Groups.from_pairs(positives.rows[members >= 0], members[members >= 0], len(positives))
        settings = self._search
        if settings.device == "auto":
            settings = settings.model_copy(update={"device": self._encoder.device})
        found, self.effort.recall = find_nearest(
            settings,
            self._embed(self._collection.queries, "query"),
            self._embed(texts, "document"),
            k,
            hidden,
            self._checkpoints / self._fingerprint(texts, hidden),
        )
        return Neighbours(np.where(found.positions < 0, -1, documents[found.positions]), found.scores)

    def score(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return the score of each (query, document) pair of positions."""
        query_rows, query_of = np.unique(queries, return_inverse=True)
        document_rows, document_of = np.unique(documents, return_inverse=True)
        left = self._embed(self._collection.queries.gather(query_rows), "query")
        right = self._embed(self._collection.texts.gather(document_rows), "document")
        return _products(left, right, query_of, document_of)

    def _embed(self, texts: pl.Series, role: "Role") -> "Embeddings":
        embeddings = self._store.embed(self._encoder, texts.to_list(), role)
        self.effort.encoded += embeddings.encoded
        self.effort.seconds += embeddings.seconds
        return embeddings

    def _fingerprint(self, documents: pl.Series, hidden: Groups) -> str:
        """Return what decides a search's result, so that blocks of another search are never taken for its own."""
        texts = [column.hash(seed=0).to_numpy().tobytes() for column in (self._collection.queries, documents)]
        namespaces = [self._encoder.namespace("query"), self._encoder.namespace("document")]
        return fingerprint(*namespaces, *texts, hidden.offsets.tobytes(), hidden.members.tobytes())


def open_scorer(settings: TeacherSettings, collection: Collection, store: "EmbeddingStore", workdir: Path) -> Scorer:
    """Return the scorer of a teacher over ``collection``; unfinished searches resume from ``workdir``."""
    if isinstance(settings, BM25Teacher):
        return BM25Scorer(collection)
    if isinstance(settings, BiEncoderTeacher):
        from conan_assets.encoding.encoder import Encoder

        return BiEncoderScorer(Encoder(settings.encoder), collection, store, settings.search, workdir)
    from conan_assets.mining.cross_encoder import CrossEncoderScorer

    first_stage = BM25Teacher() if settings.first_stage is None else BiEncoderTeacher(encoder=settings.first_stage)
    return CrossEncoderScorer(settings, collection, open_scorer(first_stage, collection, store, workdir), store.root)


def _products(left: Vectors, right: Vectors, left_rows: np.ndarray, right_rows: np.ndarray) -> np.ndarray:
    products = np.empty(len(left_rows), np.float32)
    for start in range(0, len(left_rows), PAIRS_PER_CHUNK):
        part = slice(start, start + PAIRS_PER_CHUNK)
        products[part] = np.einsum("ij,ij->i", left.rows(left_rows[part]), right.rows(right_rows[part]))
    return products
