"""The round trip: where a written question finds its own passage among all documents."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from conan_assets.lexical import BM25

if TYPE_CHECKING:
    from conan_assets.encoding.encoder import Encoder
    from conan_assets.encoding.store import EmbeddingStore

DOCUMENTS_PER_BLOCK = 4_096
QUERIES_PER_BLOCK = 1_024
SAME_SCORE = 1e-5
"""Scores of equal texts differ by less than this in float32, whatever block they are computed in."""


class GateTeacher(Protocol):
    """A model that searches a corpus."""

    def ranks(self, queries: Sequence[str], documents: Sequence[str], own: np.ndarray) -> np.ndarray:
        """Return the rank of every query's own document, from 1; equal scores share the better rank.

        Parameters
        ----------
        queries, documents
            Texts.
        own
            Position of each query's document, shape (queries,).
        """
        ...

    def scores(self, queries: Sequence[str], texts: Sequence[str]) -> np.ndarray | None:
        """Return the cosine of each query and its text, shape (queries,); None where scores have no scale."""
        ...


class BM25GateTeacher:
    """BM25; a document that shares no term with the query ranks behind all others."""

    def ranks(self, queries: Sequence[str], documents: Sequence[str], own: np.ndarray) -> np.ndarray:
        """Return the rank of every query's own document, from 1."""
        index = BM25(documents)
        return np.array([_rank(index.scores(query), position) for query, position in zip(queries, own, strict=True)])

    def scores(self, queries: Sequence[str], texts: Sequence[str]) -> np.ndarray | None:
        """Return None: a BM25 score has no scale that a threshold could stand on."""
        return None


class EncoderGateTeacher:
    """A bi-encoder. What it encodes stays in the store, where the same model finds it when it teaches.

    Parameters
    ----------
    encoder
        The model with its prompts.
    store
        Embeddings by encoder and text.
    """

    def __init__(self, encoder: "Encoder", store: "EmbeddingStore") -> None:
        self._encoder = encoder
        self._store = store

    def ranks(self, queries: Sequence[str], documents: Sequence[str], own: np.ndarray) -> np.ndarray:
        """Return the rank of every query's own document, from 1; memory does not grow with the corpus."""
        left = self._store.embed(self._encoder, queries, "query")
        right = self._store.embed(self._encoder, documents, "document")
        ranks = np.ones(len(queries), np.int64)
        for first, block in left.blocks(QUERIES_PER_BLOCK):
            rows = slice(first, first + len(block))
            to_beat = np.einsum("ij,ij->i", block, right.rows(own[rows])) + SAME_SCORE
            for _, candidates in right.blocks(DOCUMENTS_PER_BLOCK):
                ranks[rows] += (block @ candidates.T > to_beat[:, None]).sum(axis=1)
        return ranks

    def scores(self, queries: Sequence[str], texts: Sequence[str]) -> np.ndarray | None:
        """Return the cosine of each query and its text, shape (queries,)."""
        left = self._store.embed(self._encoder, queries, "query")
        right = self._store.embed(self._encoder, texts, "document")
        cosines = np.empty(len(queries), np.float32)
        for first, block in left.blocks(QUERIES_PER_BLOCK):
            rows = slice(first, first + len(block))
            cosines[rows] = np.einsum("ij,ij->i", block, right.block(first, first + len(block)))
        return cosines


def _rank(scores: np.ndarray, position: int) -> int:
    return int((scores > scores[position]).sum()) + 1 if scores[position] > 0 else len(scores) + 1
