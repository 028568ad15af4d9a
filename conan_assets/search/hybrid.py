"""BM25 and a bi-encoder in one score: what the words say beside the meaning, for the price of a search."""

from collections.abc import Sequence

import numpy as np

from conan_assets.search.groups import Groups
from conan_assets.search.ranking import EMPTY, Neighbours, pack, positions_of
from conan_assets.search.retriever import Effort, ExhaustiveRetriever, Retriever, pairs_by_query


class HybridRetriever:
    """A bi-encoder's cosine plus ``weight`` times BM25 as a share of the query's best BM25 score.

    Both parts end at 1, so that one weight serves any corpus (a convex combination of normalised scores: Bruch, Gai and
    Ingber, arXiv 2210.11934, section 3).

    Parameters
    ----------
    dense, lexical
        Retrievers over the same documents: of cosines, and BM25.
    weight
        BM25's; 0 leaves ``dense`` alone.
    """

    def __init__(self, dense: Retriever, lexical: ExhaustiveRetriever, weight: float) -> None:
        self._dense = dense
        self._lexical = lexical
        self._weight = weight

    @property
    def effort(self) -> Effort:
        """What the bi-encoder had to do."""
        return self._dense.effort

    def search(self, queries: Sequence[str], k: int, excluded: Groups) -> Neighbours:
        """Return every query's ``k`` best of the documents that one of the parts finds among its own ``k`` best."""
        found = self._dense.search(queries, k, excluded).positions
        documents, shares = [], []
        for row, query in enumerate(queries):
            share = self._shares(query)
            lexical = positions_of(self._lexical.best(share, k, excluded[row]))
            either = np.union1d(found[row][found[row] >= 0], lexical)
            documents.append(either)
            shares.append(share[either])
        counts = [len(either) for either in documents]
        rows = np.repeat(np.arange(len(queries)), counts)
        positions = np.concatenate(documents, dtype=np.int64) if documents else rows
        scores = self._dense.score(queries, rows, positions) + np.concatenate([np.empty(0, np.float32), *shares])
        keys = np.full((len(queries), max([k, *counts])), EMPTY, np.int64)
        keys[rows, np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)] = pack(scores, positions)
        return Neighbours.from_keys(np.sort(keys, axis=1)[:, -k:])

    def score(self, queries: Sequence[str], rows: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return the score of each pair of ``queries[rows[i]]`` and document ``documents[i]``, float32 (pairs,)."""
        scores = self._dense.score(queries, rows, documents)
        for query, pairs in pairs_by_query(rows):
            scores[pairs] += self._shares(queries[query])[documents[pairs]]
        return scores

    def _shares(self, query: str) -> np.ndarray:
        """Return what BM25 adds to every document's score, float32 of shape (documents,)."""
        scores = self._lexical.checked_scores(query)
        best = float(scores.max())
        return scores * np.float32(self._weight / best) if best > 0 else scores
