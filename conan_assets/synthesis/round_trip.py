"""The round trip: where a written question finds its own passage among all documents."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from conan_assets.search.groups import Groups
from conan_assets.search.retriever import OpenRetriever, Retriever

SAME_SCORE = 1e-5
"""Scores of equal texts differ by less than this in float32, whatever block they are computed in."""


@dataclass(frozen=True)
class GateTeacher:
    """What searches for the gates of written pairs.

    Attributes
    ----------
    open
        Opens its retriever over the texts of documents.
    gives_cosines
        Whether its scores have a scale that a threshold can stand on.
    """

    open: OpenRetriever
    gives_cosines: bool

    def cosines(self, queries: Sequence[str], texts: Sequence[str]) -> np.ndarray:
        """Return the cosine of each query and its text, float32 of shape (queries,)."""
        rows = np.arange(len(queries))
        return self.open(texts).score(queries, rows, rows)


def own_ranks(retriever: Retriever, queries: Sequence[str], own: np.ndarray, k: int) -> np.ndarray:
    """Return the rank of every query's own document, int64 from 1; equal scores share the better rank.

    Parameters
    ----------
    own
        Position of each query's document, shape (queries,).
    k
        How far to look: a document that is not among the first ``k`` has rank ``k + 1``.
    """
    found = retriever.search(queries, k, Groups.empty(len(queries)))
    scores = retriever.score(queries, np.arange(len(queries)), own)
    better = (found.scores > scores[:, None] + SAME_SCORE).sum(axis=1)
    is_found = (found.positions == own[:, None]).any(axis=1) | ((found.positions >= 0).sum(axis=1) == k)
    return np.where(is_found, better, k) + 1
