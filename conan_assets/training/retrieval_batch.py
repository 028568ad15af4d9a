"""The retrieval part of a global batch: who is a negative of whom."""

from dataclasses import dataclass

import numpy as np

from conan_assets.training.negatives import NONE, NegativeTable
from conan_assets.training.samples import RetrievalSamples
from conan_assets.training.settings import InBatchNegatives
from conan_assets.training.texts import DOCUMENT, QUERY, TextNumbers


@dataclass(frozen=True)
class RetrievalBatch:
    """Queries, and the documents that their losses are taken over.

    Attributes
    ----------
    samples
        Sample numbers, shape (queries,).
    queries, documents
        Positions in the batch's texts, shapes (queries,) and (documents,); every document occurs once.
    positive
        The column of each query's positive among the documents, shape (queries,).
    negatives
        The columns of each query's own hard negatives, shape (queries, n); -1 for none.
    swapped_in
        Which of them dynamic mining put there, bool of shape (queries, n).
    counts
        How many times a document stands among the query's negatives, float32 of shape (queries, documents).
    teacher
        A teacher's scores of the positive and of the own negatives, float32 of shape (queries, 1 + n) with NaN for
        none; None if the data have no such scores.
    """

    samples: np.ndarray
    queries: np.ndarray
    documents: np.ndarray
    positive: np.ndarray
    negatives: np.ndarray
    swapped_in: np.ndarray
    counts: np.ndarray
    teacher: np.ndarray | None


def build_retrieval_batch(
    data: RetrievalSamples,
    samples: np.ndarray,
    drawn: np.ndarray,
    table: NegativeTable,
    in_batch: InBatchNegatives,
    texts: TextNumbers,
) -> RetrievalBatch:
    """Return the batch of ``samples`` with the positives at the places ``drawn``; number its texts in ``texts``.

    No positive of a query, by id or by equal text, and no document equal to the query is among its negatives.
    """
    pool = table.current[samples]
    positives = data.positives.take(samples, drawn[:, None], NONE)[:, 0]
    candidates = data.candidates.take(samples, pool, NONE)
    rows = np.concatenate([positives, candidates[candidates != NONE]])
    classes, first, columns = np.unique(data.text_class[rows], return_index=True, return_inverse=True)
    positive = columns[: len(samples)]
    negatives = np.full(pool.shape, NONE)
    negatives[candidates != NONE] = columns[len(samples) :]

    counts = _count_negatives(negatives, positive, len(classes), in_batch)
    counts[_known_positives(data, samples, classes)] = 0
    if negatives.size:
        negatives[(negatives != NONE) & (np.take_along_axis(counts, negatives, axis=1) == 0)] = NONE
    teacher = None
    if data.positive_scores is not None and data.candidate_scores is not None:
        of_positive = data.positive_scores.take(samples, drawn[:, None], np.nan)
        of_negatives = data.candidate_scores.take(samples, np.where(negatives == NONE, NONE, pool), np.nan)
        teacher = np.concatenate([of_positive, of_negatives], axis=1).astype(np.float32)
    return RetrievalBatch(
        samples=samples,
        queries=np.array([texts.number(QUERY, data.queries[sample]) for sample in samples]),
        documents=np.array([texts.number(DOCUMENT, data.texts[row]) for row in rows[first]]),
        positive=positive,
        negatives=negatives,
        swapped_in=table.swapped_in(samples) & (negatives != NONE),
        counts=counts,
        teacher=teacher,
    )


def _count_negatives(
    negatives: np.ndarray, positive: np.ndarray, documents: int, in_batch: InBatchNegatives
) -> np.ndarray:
    """Return how often each document is a negative of each query, its own or the batch's."""
    own = np.zeros((len(negatives), documents), np.float32)
    query, slot = np.nonzero(negatives != NONE)
    np.add.at(own, (query, negatives[query, slot]), 1)
    if in_batch == "documents":
        return np.maximum(own, 1)
    if in_batch == "positives":
        own[:, positive] = np.maximum(own[:, positive], 1)
    return own


def _known_positives(data: RetrievalSamples, samples: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return where a document is a positive of the query, by id or equal text, or the query itself.

    Samples of the batch that ask the same query share their positives. Bool of shape (queries, documents).
    """
    by_query: dict[int, list[np.ndarray]] = {}
    for sample in samples:
        by_query.setdefault(int(data.query_class[sample]), []).append(data.text_class[data.positives[sample]])
    known = {query: np.isin(classes, np.concatenate([*found, [query]])) for query, found in by_query.items()}
    return np.stack([known[int(data.query_class[sample])] for sample in samples])
