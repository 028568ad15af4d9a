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

    A document's text is taken apart when it is first looked at; memory is 4 bytes for each of its trigrams.

    Parameters
    ----------
    texts
        All documents of a collection.
    """

    def __init__(self, settings: DuplicateGuard, texts: pl.Series) -> None:
        self._settings = settings
        self._texts = texts
        self._row = np.full(len(texts), -1, np.int64)
        self._keys = np.empty(0, np.uint64)
        self._shingles = Shingles(np.empty(0, np.uint32), np.zeros(1, np.int64))

    def check(self, collection: Collection, candidates: Candidates) -> None:
        """Remove the query itself, what equals a positive and, unless exempt, what nearly equals one.

        Parameters
        ----------
        collection
            The documents and the queries of the candidates, which may be a part of all.
        """
        queries, documents = candidates.queries, candidates.documents
        relation = self.relation_to_positives(collection.positives, queries, documents)
        copies = self._keys[self._row[documents]] == _keys(collection.queries)[queries]
        own = _documents_that_are_queries(collection)
        candidates.verdicts.remove(copies | (documents == own[queries]), QUERY_REASON)
        candidates.verdicts.remove(relation == EQUAL, EQUAL_REASON)
        candidates.verdicts.remove((relation == NEAR) & ~candidates.exempt, NEAR_REASON)

    def relation_to_positives(self, positives: Groups, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return DIFFERENT, NEAR or EQUAL for each candidate: how it relates to the closest positive of its query.

        A candidate is nearly equal to a positive when it holds at least ``containment`` of the positive's word
        trigrams; or when the positive holds as much of the candidate's, and the candidate has at least
        ``min_length_ratio`` times as many as the positive.

        Parameters
        ----------
        positives
            Positions of each query's relevant documents.
        queries, documents
            Positions of the candidates, int64 of shape (candidates,), sorted by query.
        """
        self._look_at(documents, positives.members)
        verdicts = np.full(len(queries), DIFFERENT, np.int8)
        sizes, containment = self._shingles.sizes, self._settings.containment
        rows_of_candidates = self._row[documents]
        for rows, members in _comparisons(sizes[rows_of_candidates], queries, positives):
            candidates, texts = rows_of_candidates[rows], self._row[positives.members[members]]
            common = self._shingles.common(candidates, texts)
            holds_positive = common >= containment * sizes[texts]
            long_enough = sizes[candidates] >= self._settings.min_length_ratio * sizes[texts]
            held_by_positive = (common >= containment * sizes[candidates]) & long_enough
            near = (common > 0) & (holds_positive | held_by_positive)
            verdicts[rows[near]] = np.maximum(verdicts[rows[near]], NEAR)
            verdicts[rows[self._keys[candidates] == self._keys[texts]]] = EQUAL
        return verdicts

    def _look_at(self, *documents: np.ndarray) -> None:
        """Take the texts of documents apart that were not looked at before."""
        seen = np.zeros(len(self._row), bool)
        for positions in documents:
            seen[positions] = True
        new = np.flatnonzero(seen & (self._row < 0))
        if len(new):
            texts = self._texts.gather(new)
            self._row[new] = np.arange(len(new)) + len(self._keys)
            self._keys = np.concatenate([self._keys, _keys(texts)])
            self._shingles = self._shingles.and_then(Shingles.of(words(texts), WORDS_PER_SHINGLE))


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
