"""The seam of this room: what finds documents for queries and scores pairs of both.

The student, its teachers, the gates of written pairs and the baselines of reports are retrievers alike.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
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
    cut
        How many of them were longer than the model's limit of tokens and lost their ends.
    seconds
        Seconds that encoding them took.
    recall
        Share of the exact result that approximate searches found on samples, the lowest; None after exact ones.
    """

    encoded: int = 0
    cut: int = 0
    seconds: float = 0.0
    recall: float | None = None

    def found_of_exact(self, recall: float | None) -> None:
        """Take in the recall of one more search, None if it was exact."""
        if recall is not None:
            self.recall = recall if self.recall is None else min(recall, self.recall)


def effort_report(efforts: Iterable[Effort]) -> dict[str, float]:
    """Return texts encoded; texts per second and texts cut if any were; the lowest recall of approximate searches."""
    total = total_effort(efforts)
    report: dict[str, float] = {"encoded": total.encoded}
    if total.encoded:
        report |= {"texts_per_second": round(total.encoded / total.seconds, 1), "encoded_texts_cut": total.cut}
    if total.recall is not None:
        report["recall_of_exact"] = total.recall
    return report


def total_effort(efforts: Iterable[Effort]) -> Effort:
    """Return what several retrievers had to do together, with their lowest recall."""
    total = Effort()
    for effort in efforts:
        recalls = [recall for recall in (total.recall, effort.recall) if recall is not None]
        encoded, cut, seconds = total.encoded + effort.encoded, total.cut + effort.cut, total.seconds + effort.seconds
        total = Effort(encoded, cut, seconds, min(recalls, default=None))
    return total


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

    def checked_scores(self, query: str) -> np.ndarray:
        """Return :meth:`scores` as float32; raise ValueError where one is missing, too many or NaN."""
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
            best = self.best(self.checked_scores(query), k, excluded[row])
            keys[row, : len(best)] = best
            progress.advance()
        return Neighbours.from_keys(keys)

    def best(self, scores: np.ndarray, k: int, excluded: np.ndarray) -> np.ndarray:
        """Return the packed ``k`` best of all documents' ``scores`` above 0, in no order, without ``excluded`` ones."""
        found = np.flatnonzero(scores[: self._retrievable] > 0)
        found = found[~np.isin(found, excluded)]
        best = pack(scores[found], found)
        return best if len(best) <= k else np.partition(best, len(best) - k)[-k:]

    def score(self, queries: Sequence[str], rows: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return the score of each pair of ``queries[rows[i]]`` and document ``documents[i]``, float32 (pairs,)."""
        scores = np.empty(len(rows), np.float32)
        for query, pairs in pairs_by_query(rows):
            scores[pairs] = self.checked_scores(queries[query])[documents[pairs]]
        return scores


def pairs_by_query(rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield every query that ``rows`` name with the positions of its pairs."""
    order = np.argsort(rows, kind="stable")
    distinct, first = np.unique(rows[order], return_index=True)
    yield from zip(distinct.tolist(), np.split(order, first[1:]), strict=True)
