"""The false-negative guard beyond scores: what says the same as a positive, or is the query itself, is no negative."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from conan_assets.data.shingles import Shingles, words
from conan_assets.data.text import comparison_key, text_key
from conan_assets.mining.candidates import Candidates
from conan_assets.mining.collection import Collection
from conan_assets.mining.settings import DuplicateGuard
from conan_assets.search.groups import Groups

QUERY_REASON = "equal_to_query"
EQUAL_REASON = "equal_to_positive"
NEAR_REASON = "nearly_equal_to_positive"

WORDS_PER_SHINGLE = 3
SHINGLES_PER_CHUNK = 1 << 20

DIFFERENT, NEAR, EQUAL = 0, 1, 2


class Guard:
    """Compares candidates with their query and its positives by their texts.

    Parameters
    ----------
    documents
        Positions of all documents that will be looked at, apart from the positives; int64 of any shape.
    """

    def __init__(self, settings: DuplicateGuard, collection: Collection, documents: np.ndarray) -> None:
        self._settings = settings
        seen = np.zeros(len(collection.doc_ids), bool)
        seen[documents] = True
        seen[collection.positives.members] = True
        self._row = np.cumsum(seen) - 1
        self._positives = Groups(collection.positives.offsets, self._row[collection.positives.members])
        texts = collection.texts.gather(np.flatnonzero(seen))
        self._keys = _keys(texts)
        self._shingles = Shingles.of(words(texts), WORDS_PER_SHINGLE)
        self._query_keys = _keys(collection.queries)
        self._own = _documents_that_are_queries(collection)

    def check(self, candidates: Candidates) -> None:
        """Remove the query itself, what equals a positive and, unless exempt, what nearly equals one."""
        queries, documents = candidates.queries, candidates.documents
        copies = self._keys[self._row[documents]] == self._query_keys[queries]
        candidates.verdicts.remove(copies | (documents == self._own[queries]), QUERY_REASON)
        relation = self.relation_to_positives(queries, documents)
        candidates.verdicts.remove(relation == EQUAL, EQUAL_REASON)
        candidates.verdicts.remove((relation == NEAR) & ~candidates.exempt, NEAR_REASON)

    def relation_to_positives(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return DIFFERENT, NEAR or EQUAL for each candidate: how it relates to the closest positive of its query.

        A candidate is nearly equal to a positive when it holds at least ``containment`` of the positive's word
        trigrams; or when the positive holds as much of the candidate's, and the candidate has at least
        ``min_length_ratio`` times as many as the positive.

        Parameters
        ----------
        queries, documents
            Positions of the candidates, int64 of shape (candidates,), sorted by query.
        """
        verdicts = np.full(len(queries), DIFFERENT, np.int8)
        sizes, containment = self._shingles.sizes, self._settings.containment
        rows_of_candidates = self._row[documents]
        for rows, members in _comparisons(sizes[rows_of_candidates], queries, self._positives):
            candidates, texts = rows_of_candidates[rows], self._positives.members[members]
            common = self._shingles.common(candidates, texts)
            holds_positive = common >= containment * sizes[texts]
            long_enough = sizes[candidates] >= self._settings.min_length_ratio * sizes[texts]
            held_by_positive = (common >= containment * sizes[candidates]) & long_enough
            near = (common > 0) & (holds_positive | held_by_positive)
            verdicts[rows[near]] = np.maximum(verdicts[rows[near]], NEAR)
            verdicts[rows[self._keys[candidates] == self._keys[texts]]] = EQUAL
        return verdicts


def _keys(texts: pl.Series) -> np.ndarray:
    return texts.to_frame("text").select(text_key(pl.col("text"))).to_series().to_numpy()


def _documents_that_are_queries(collection: Collection) -> np.ndarray:
    """Return the position of the document that has each query's id and holds its text, -1 where there is none.

    The id alone says nothing: many corpora count queries and documents from 1 each.
    """
    queries = pl.DataFrame({"id": collection.query_ids, "query": collection.queries}).with_row_index("row")
    documents = pl.DataFrame({"id": collection.doc_ids, "text": collection.texts}).with_row_index("position")
    same = queries.join(documents, on="id").filter(
        comparison_key(pl.col("text")).str.contains(comparison_key(pl.col("query")), literal=True)
    )
    own = np.full(len(collection.queries), -1, np.int64)
    own[same["row"].to_numpy()] = same["position"].to_numpy()
    return own


def _comparisons(sizes: np.ndarray, queries: np.ndarray, positives: Groups) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield chunks of (candidate rows, indices into ``positives.members``) to compare, every pair of a query once."""
    first = np.searchsorted(queries, positives.rows)
    counts = np.searchsorted(queries, positives.rows, side="right") - first
    totals = np.append(0, np.cumsum(sizes))
    work = np.cumsum(totals[first + counts] - totals[first] + counts)
    bounds = np.unique(np.searchsorted(work, np.arange(0, work[-1] + SHINGLES_PER_CHUNK, SHINGLES_PER_CHUNK)))
    for start, stop in zip(bounds, [*bounds[1:], len(work)], strict=True):
        chunk = counts[start:stop]
        if chunk.sum():
            members = np.repeat(np.arange(start, stop), chunk)
            rows = np.arange(len(members)) + np.repeat(first[start:stop] - (np.cumsum(chunk) - chunk), chunk)
            yield rows, members
