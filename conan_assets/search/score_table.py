"""Scores from a stored table where it has them, computed where it has not."""

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from conan_assets.search.groups import Groups
from conan_assets.search.ranking import EMPTY, Neighbours, pack
from conan_assets.search.retriever import Effort, Retriever


class TableRetriever:
    """Another retriever's stored scores; it is opened only for pairs that the table lacks.

    Parameters
    ----------
    documents
        Number of documents that positions refer to.
    retrievable
        How many of them, from the first, may be found.
    open_retriever
        Opens the retriever whose scores these are.
    """

    def __init__(self, documents: int, retrievable: int, open_retriever: Callable[[], Retriever]) -> None:
        self._documents = documents
        self._retrievable = retrievable
        self._open = open_retriever
        self._retriever: Retriever | None = None

    def hold(self, table: pl.DataFrame) -> None:
        """Know the scores of a table, and those of the one before no more.

        Parameters
        ----------
        table
            Columns ``query`` (text), ``document`` (position) and ``score``.
        """
        self._queries = table.select(pl.col("query").unique(maintain_order=True)).with_row_index("row")
        rows = table.select("query").join(self._queries, on="query", maintain_order="left")["row"].to_numpy()
        positions = table["document"].to_numpy().astype(np.int64)
        keys = self._keys(rows.astype(np.int64), positions)
        self._known, first = np.unique(keys, return_index=True)
        self._scores = table["score"].to_numpy()[first]

    @property
    def effort(self) -> Effort:
        """What the retriever behind the table had to do; nothing as long as the table has every score."""
        return self._retriever.effort if self._retriever else Effort()

    def search(self, queries: Sequence[str], k: int, excluded: Groups) -> Neighbours:
        """Return every query's ``k`` best documents of the table without its ``excluded`` ones."""
        rows = self._rows(queries)
        first, last = np.searchsorted(self._known, [self._keys(rows, 0), self._keys(rows, self._retrievable)])
        asked = np.repeat(np.arange(len(rows)), last - first)
        place = np.arange(len(asked)) + np.repeat(first - (np.cumsum(last - first) - (last - first)), last - first)
        documents, scores = self._known[place] % self._documents, self._scores[place]
        hidden = np.isin(self._keys(asked, documents), self._keys(excluded.rows, excluded.members))
        keys = pack(scores, documents)[~hidden]
        asked = asked[~hidden]
        order = np.lexsort((-keys, asked))
        keys, asked = keys[order], asked[order]
        rank = np.arange(len(asked)) - np.searchsorted(asked, asked)
        best = np.full((len(queries), k), EMPTY, np.int64)
        best[asked[rank < k], rank[rank < k]] = keys[rank < k]
        return Neighbours.from_keys(best)

    def score(self, queries: Sequence[str], rows: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return the score of each pair of ``queries[rows[i]]`` and document ``documents[i]``, float32 (pairs,)."""
        wanted = self._keys(self._rows(queries)[rows], documents)
        place = np.minimum(np.searchsorted(self._known, wanted), max(len(self._known) - 1, 0))
        found = self._known[place] == wanted if len(self._known) else np.zeros(len(wanted), bool)
        scores = np.empty(len(wanted), np.float32)
        scores[found] = self._scores[place[found]]
        if not found.all():
            self._retriever = self._retriever or self._open()
            scores[~found] = self._retriever.score(queries, rows[~found], documents[~found])
        return scores

    def _rows(self, queries: Sequence[str]) -> np.ndarray:
        """Return the table's number of each query, -1 of one that it does not have."""
        asked = pl.DataFrame({"query": queries}, schema={"query": pl.String})
        rows = asked.join(self._queries, on="query", how="left", maintain_order="left")["row"]
        return rows.cast(pl.Int64).fill_null(-1).to_numpy()

    def _keys(self, rows: np.ndarray, documents: np.ndarray | int) -> np.ndarray:
        return rows * self._documents + documents
