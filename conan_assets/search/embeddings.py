"""Retrievers by dot products: of vectors that are there already, and of what a bi-encoder makes of texts."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from conan_assets.artifacts import fingerprint
from conan_assets.search.groups import Groups
from conan_assets.search.nearest import Nearest
from conan_assets.search.ranking import Neighbours
from conan_assets.search.retriever import Effort
from conan_assets.search.settings import SearchSettings
from conan_assets.search.vectors import FirstRows, PickedVectors, Vectors, paired_products

if TYPE_CHECKING:
    from conan_assets.encoding.encoder import Encoder, Role
    from conan_assets.encoding.store import Embeddings, EmbeddingStore


class VectorRetriever:
    """Dot products of vectors made elsewhere; it knows the queries that it has vectors of, and no others.

    Parameters
    ----------
    texts
        The queries, one for each row of ``queries``.
    queries, documents
        Their vectors, and those of all documents.
    """

    def __init__(self, texts: Sequence[str], queries: Vectors, documents: Vectors, search: SearchSettings) -> None:
        self._row = {text: len(texts) - 1 - row for row, text in enumerate(reversed(texts))}
        self._queries = queries
        self._documents = documents
        self._nearest = Nearest(search, documents)
        self.effort = Effort()

    def search(self, queries: Sequence[str], k: int, excluded: Groups) -> Neighbours:
        """Return every query's ``k`` nearest documents."""
        picked = PickedVectors(self._queries, self._rows(queries))
        found, recall = self._nearest.find(picked, k, excluded)
        self.effort.found_of_exact(recall)
        return found

    def score(self, queries: Sequence[str], rows: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return the dot product of each pair."""
        return paired_products(self._queries, self._documents, self._rows(queries)[rows], documents)

    def _rows(self, queries: Sequence[str]) -> np.ndarray:
        return np.array([self._row[query] for query in queries], np.int64)


class BiEncoderRetriever:
    """Dot products of stored embeddings; texts that are not stored yet are encoded, and only those asked for.

    Parameters
    ----------
    encoder, store
        The model, and where its embeddings are kept.
    documents
        Texts.
    search
        How the nearest are found.
    checkpoints
        Directory that a killed search resumes from; None for none.
    retrievable
        How many documents, from the first, may be found; the others are only scored. None for all.
    """

    def __init__(
        self,
        encoder: "Encoder",
        store: "EmbeddingStore",
        documents: Sequence[str],
        search: SearchSettings | None = None,
        checkpoints: Path | None = None,
        retrievable: int | None = None,
    ) -> None:
        self._encoder = encoder
        self._store = store
        self._documents = documents
        self._search = search or SearchSettings()
        self._checkpoints = checkpoints
        self._retrievable = len(documents) if retrievable is None else retrievable
        self.effort = Effort()

    def search(self, queries: Sequence[str], k: int, excluded: Groups) -> Neighbours:
        """Return every query's ``k`` nearest documents."""
        folder = self._checkpoints and self._checkpoints / self._fingerprint(queries, excluded)
        found, recall = self._nearest.find(self._embed(queries, "query"), k, excluded, folder)
        self.effort.found_of_exact(recall)
        return found

    def among(self, documents: np.ndarray) -> "BiEncoderRetriever":
        """Return a retriever over the documents at those positions alone; both count their effort together."""
        texts = [self._documents[row] for row in documents.tolist()]
        retriever = BiEncoderRetriever(self._encoder, self._store, texts, self._search, self._checkpoints)
        retriever.effort = self.effort
        return retriever

    def score(self, queries: Sequence[str], rows: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return the cosine of each pair."""
        asked, asked_of = np.unique(rows, return_inverse=True)
        named, named_of = np.unique(documents, return_inverse=True)
        left = self._embed([queries[row] for row in asked.tolist()], "query")
        right = self._embed([self._documents[row] for row in named.tolist()], "document")
        return paired_products(left, right, asked_of, named_of)

    @cached_property
    def _nearest(self) -> Nearest:
        documents = FirstRows(self._embed(self._documents, "document"), self._retrievable)
        return Nearest(self._search, documents, self._store.compute, self._encoder.device)

    def _embed(self, texts: Sequence[str], role: "Role") -> "Embeddings":
        embeddings = self._store.embed(self._encoder, texts, role)
        self.effort.encoded += embeddings.encoded
        self.effort.cut += embeddings.cut
        self.effort.seconds += embeddings.seconds
        return embeddings

    def _fingerprint(self, queries: Sequence[str], excluded: Groups) -> str:
        """Return what decides a search's result, so that blocks of another search are never taken for its own."""
        namespaces = [self._encoder.namespace("query"), self._encoder.namespace("document")]
        hidden = (excluded.offsets.tobytes(), excluded.members.tobytes())
        texts = (pl.Series(values).hash(seed=0).to_numpy().tobytes() for values in (queries, self._documents))
        return fingerprint(*namespaces, self._retrievable, *texts, *hidden)
