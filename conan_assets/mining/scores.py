"""Scores from a teacher's table where it has them, computed where it has not."""

from collections.abc import Callable

import numpy as np
import polars as pl

from conan_assets.mining.collection import Collection
from conan_assets.mining.ranking import EMPTY, Neighbours, pack
from conan_assets.mining.scorers import Effort, Scorer


class TableScorer:
    """A teacher over one collection that opens its model or index only for pairs its table lacks.

    Parameters
    ----------
    table
        The teacher's candidates table; rows of other collections are ignored.
    open_teacher
        Opens the teacher itself.
    """

    def __init__(self, collection: Collection, table: pl.LazyFrame, open_teacher: Callable[[], Scorer]) -> None:
        queries = collection.query_ids.to_frame("query_id").with_row_index("query").lazy()
        documents = collection.doc_ids.to_frame("doc_id").with_row_index("document").lazy()
        known = table.join(queries, on="query_id").join(documents, on="doc_id").select("query", "document", "score")
        rows = known.collect()
        self._collection = collection
        self._queries = rows["query"].to_numpy().astype(np.int64)
        self._documents = rows["document"].to_numpy().astype(np.int64)
        self._scores = rows["score"].to_numpy()
        self._size = len(collection.doc_ids)
        self._order = np.argsort(self._keys(self._queries, self._documents), kind="stable")
        self._open = open_teacher
        self._teacher: Scorer | None = None

    @property
    def effort(self) -> Effort:
        """What the teacher had to do; nothing as long as the table has every score."""
        return self._teacher.effort if self._teacher else Effort()

    def search(self, k: int) -> Neighbours:
        """Return every query's ``k`` best candidates of the table that are none of its positives."""
        collection = self._collection
        judged = self._keys(collection.positives.rows, collection.positives.members)
        retrievable = self._documents < collection.corpus_size
        rows = np.flatnonzero(retrievable & ~np.isin(self._keys(self._queries, self._documents), judged))
        keys = pack(self._scores[rows], self._documents[rows])
        rows = rows[np.lexsort((-keys, self._queries[rows]))]
        queries = self._queries[rows]
        place = np.arange(len(rows)) - np.searchsorted(queries, queries)
        best = np.full((len(collection.queries), k), EMPTY, np.int64)
        chosen = place < k
        best[queries[chosen], place[chosen]] = pack(self._scores[rows], self._documents[rows])[chosen]
        return Neighbours.from_keys(best)

    def score(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return the score of each (query, document) pair of positions, float32 of shape (pairs,)."""
        wanted = self._keys(queries, documents)
        known = self._keys(self._queries, self._documents)[self._order]
        place = np.searchsorted(known, wanted)
        found = place < len(known)
        found[found] = known[place[found]] == wanted[found]
        scores = np.empty(len(wanted), np.float32)
        scores[found] = self._scores[self._order[place[found]]]
        if not found.all():
            self._teacher = self._teacher or self._open()
            scores[~found] = self._teacher.score(queries[~found], documents[~found])
        return scores

    def _keys(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        return queries * self._size + documents
