"""The seam of this room: what finds documents for queries and scores pairs of both.

The student, its teachers, the gates of written pairs and the baselines of reports are retrievers alike.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from conan_assets.progress import Progress
from conan_assets.search.groups import Groups
from conan_assets.search.ranking import EMPTY, Neighbours, pack


@dataclass
class Effort:
    """What a retriever had to do so far.

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


class Retriever(Protocol):
    """Documents, addressed by position, that any queries are searched in and scored against."""

    @property
    def effort(self) -> Effort:
        """What it had to do so far."""
        ...

    def search(self, queries: Sequence[str], k: int, excluded: Groups) -> Neighbours:
        """Return every query's ``k`` best documents, best first, without its ``excluded`` ones (a group per query)."""
        ...

    def score(self, queries: Sequence[str], rows: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return the score of each pair of ``queries[rows[i]]`` and document ``documents[i]``, float32 (pairs,)."""
        ...


OpenRetriever = Callable[[Sequence[str]], Retriever]
"""Opens a retriever over the texts of documents."""


class ExhaustiveRetriever(ABC):
    """A retriever that scores all documents for one query at a time, such as BM25.

    A document that scores 0 or less is not found.

    Parameters
    ----------
    documents
        Texts.
    retrievable
        How many of them, from the first, may be found; the others are only scored. None for all.
    """

    def __init__(self, documents: Sequence[str], retrievable: int | None = None) -> None:
        self._documents = len(documents)
        self._retrievable = self._documents if retrievable is None else retrievable
        self.effort = Effort()

    @abstractmethod
    def scores(self, query: str) -> np.ndarray:
        """Return the score of every document for ``query``, of shape (documents,)."""

    def _checked_scores(self, query: str) -> np.ndarray:
        """Return them as float32; raise ValueError where they are not as many as the documents, or one is NaN."""
        scores = np.asarray(self.scores(query), np.float32)
        if scores.shape != (self._documents,):
            raise ValueError(
                f"{type(self).__name__}.scores returned the shape {scores.shape} for {self._documents} documents"
            )
        if np.isnan(scores).any():
            position = int(np.flatnonzero(np.isnan(scores))[0])
            raise ValueError(f"{type(self).__name__}.scores returned NaN for document {position} and {query!r}")
        return scores

    def search(self, queries: Sequence[str], k: int, excluded: Groups) -> Neighbours:
        """Return every query's ``k`` best documents that score above 0, without its ``excluded`` ones."""
        k = min(k, self._retrievable)
        keys = np.full((len(queries), k), EMPTY, np.int64)
        progress = Progress("searching queries", len(queries))
        for row, query in enumerate(queries):
            scores = self._checked_scores(query)
            found = np.flatnonzero(scores[: self._retrievable] > 0)
            found = found[~np.isin(found, excluded[row])]
            best = pack(scores[found], found)
            if len(best) > k:
                best = np.partition(best, len(best) - k)[-k:]
            keys[row, : len(best)] = best
            progress.advance()
        return Neighbours.from_keys(keys)

    def score(self, queries: Sequence[str], rows: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return the score of each pair of ``queries[rows[i]]`` and document ``documents[i]``, float32 (pairs,)."""
        scores = np.empty(len(rows), np.float32)
        order = np.argsort(rows, kind="stable")
        distinct, first = np.unique(rows[order], return_index=True)
        for query, pairs in zip(distinct.tolist(), np.split(order, first[1:]), strict=True):
            scores[pairs] = self._checked_scores(queries[query])[documents[pairs]]
        return scores
