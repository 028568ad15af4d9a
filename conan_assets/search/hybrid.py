"""BM25 and a bi-encoder in one score: what the words say beside the meaning, for the price of a search."""

from collections.abc import Sequence

import numpy as np

from conan_assets.search.groups import Groups
from conan_assets.search.ranking import EMPTY, Neighbours, pack
from conan_assets.search.retriever import Effort, ExhaustiveRetriever, Retriever


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
    retrievable
        How many documents, from the first, may be found; the others are only scored. None for all.
    """

    def __init__(
        self, dense: Retriever, lexical: ExhaustiveRetriever, weight: float, retrievable: int | None = None
    ) -> None:
        self._dense = dense
        self._lexical = lexical
        self._weight = weight
        self._retrievable = retrievable

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
            either = np.union1d(found[row][found[row] >= 0], self._best(share, k, excluded[row]))
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
        order = np.argsort(rows, kind="stable")
        distinct, first = np.unique(rows[order], return_index=True)
        for query, pairs in zip(distinct.tolist(), np.split(order, first[1:]), strict=True):
            scores[pairs] += self._shares(queries[query])[documents[pairs]]
        return scores

    def _shares(self, query: str) -> np.ndarray:
        """Return what BM25 adds to every document's score, float32 of shape (documents,)."""
        scores = self._lexical.scores(query)
        best = float(scores.max())
        return scores * np.float32(self._weight / best) if best > 0 else scores

    def _best(self, shares: np.ndarray, k: int, excluded: np.ndarray) -> np.ndarray:
        """Return the positions of BM25's ``k`` best documents above 0 that are not excluded."""
        open_to = shares[: self._retrievable].copy()
        open_to[excluded[excluded < len(open_to)]] = 0
        best = np.argpartition(-open_to, min(k, len(open_to)) - 1)[:k]
        return best[open_to[best] > 0]
