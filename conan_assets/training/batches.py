"""The global batch of every step: drawn and de-duplicated once, the same on every process, then split.

A batch is a pure function of the seed, the step and the table of current negatives, so a resumed run needs to know
the step alone.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import numpy as np

from conan_assets.training.data import RetrievalData, StsData, TrainingData
from conan_assets.training.negatives import NONE, NegativeTable
from conan_assets.training.settings import InBatchNegatives, TrainingSettings

QUERY, DOCUMENT = 0, 1


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
        The columns of each query's own hard negatives, shape (queries, negatives_per_query); -1 for none.
    counts
        How many times a document stands among the query's negatives, float32 of shape (queries, documents).
    """

    samples: np.ndarray
    queries: np.ndarray
    documents: np.ndarray
    positive: np.ndarray
    negatives: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class StsBatch:
    """Sentence pairs as positions in the batch's texts, and their labels; each of shape (pairs,)."""

    first: np.ndarray
    second: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Batch:
    """One optimizer step's texts, each (role, text) once, and the tasks over them."""

    texts: list[tuple[int, str]]
    retrieval: RetrievalBatch | None
    sts: StsBatch | None

    @property
    def samples(self) -> int:
        """Number of queries and STS pairs."""
        queries = len(self.retrieval.samples) if self.retrieval is not None else 0
        return queries + (len(self.sts.labels) if self.sts is not None else 0)


class BatchPlan:
    """All batches of a stage.

    Attributes
    ----------
    steps
        Number of optimizer steps.
    """

    def __init__(self, data: TrainingData, settings: TrainingSettings, table: NegativeTable | None) -> None:
        self.data = data
        self.settings = settings
        self.table = table
        self.retrieval_size = min(settings.retrieval_batch_size, len(data.retrieval or ()))
        self.sts_size = min(settings.sts_batch_size, len(data.sts or ()))
        items, size = (len(data.retrieval), self.retrieval_size) if data.retrieval else (len(data.sts or ()), self.sts_size)
        steps = ceil(settings.epochs * items / size)
        self.steps = min(steps, settings.max_steps or steps)
        self._order = lru_cache(maxsize=4)(self._shuffle)

    def batch(self, step: int) -> Batch:
        """Return the batch of ``step``, counted from 0."""
        texts = _TextNumbers()
        retrieval = sts = None
        if self.data.retrieval is not None and self.table is not None:
            samples = self._draw(step, len(self.data.retrieval), self.retrieval_size, "retrieval")
            positives = self._draw_positives(step, self.data.retrieval, samples)
            pool = self.table.current[samples]
            retrieval = _retrieval_batch(self.data.retrieval, samples, positives, pool, self.settings.in_batch_negatives, texts)
        if self.data.sts is not None:
            pairs = self._draw(step, len(self.data.sts), self.sts_size, "sts")
            sts = _sts_batch(self.data.sts, pairs, texts)
        return Batch(texts.texts, retrieval, sts)

    def _draw(self, step: int, items: int, size: int, task: str) -> np.ndarray:
        """Return the ``size`` items of a step from an endless row of shuffled epochs."""
        epochs, within = np.divmod(np.arange(step * size, (step + 1) * size), items)
        drawn = np.empty(size, np.int64)
        for epoch in np.unique(epochs):
            drawn[epochs == epoch] = self._order(task, int(epoch), items)[within[epochs == epoch]]
        return drawn

    def _shuffle(self, task: str, epoch: int, items: int) -> np.ndarray:
        return self._generator(task, epoch).permutation(items)

    def _draw_positives(self, step: int, data: RetrievalData, samples: np.ndarray) -> np.ndarray:
        """Return one of each sample's positives, as text numbers."""
        counts = data.positives.lengths[samples]
        chosen = self._generator("positive", step).integers(counts)
        return data.positives.values[data.positives.offsets[samples] + chosen]

    def _generator(self, purpose: str, number: int) -> np.random.Generator:
        return np.random.default_rng([self.settings.seed, *purpose.encode(), number])


class _TextNumbers:
    """Numbers (role, text) pairs in the order they are first seen."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[int, str], int] = {}

    def __call__(self, role: int, text: str) -> int:
        return self._numbers.setdefault((role, text), len(self._numbers))

    @property
    def texts(self) -> list[tuple[int, str]]:
        return list(self._numbers)


def _retrieval_batch(
    data: RetrievalData,
    samples: np.ndarray,
    positives: np.ndarray,
    pool: np.ndarray,
    in_batch: InBatchNegatives,
    texts: _TextNumbers,
) -> RetrievalBatch:
    queries = np.array([texts(QUERY, data.queries[sample]) for sample in samples])
    candidates = np.where(pool == NONE, NONE, _take(data.candidates.values, data.candidates.offsets[samples][:, None] + pool))
    rows = np.concatenate([positives, candidates[candidates != NONE]])
    classes, first, columns = np.unique(data.text_class[rows], return_index=True, return_inverse=True)
    positive = columns[: len(samples)]
    negatives = np.full(pool.shape, NONE)
    negatives[candidates != NONE] = columns[len(samples) :]

    counts = np.zeros((len(samples), len(classes)), np.float32)
    if in_batch == "documents":
        counts[:] = 1
    elif in_batch == "positives":
        counts[:, positive] = 1
    own = np.zeros_like(counts)
    query, slot = np.nonzero(negatives != NONE)
    np.add.at(own, (query, negatives[query, slot]), 1)
    counts = np.maximum(counts, own)
    counts[_known_positives(data, samples, classes)] = 0
    negatives[(negatives != NONE) & (np.take_along_axis(counts, negatives, axis=1) == 0)] = NONE
    documents = np.array([texts(DOCUMENT, data.texts[row]) for row in rows[first]])
    return RetrievalBatch(samples, queries, documents, positive, negatives, counts)


def _take(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return ``values[index]``, with any value where the index is out of range."""
    return values[np.clip(index, 0, len(values) - 1)] if len(values) else np.full(index.shape, NONE)


def _known_positives(data: RetrievalData, samples: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return where a document is a positive of the query, by id or equal text, or the query itself.

    Samples of the batch that ask the same query share their positives. Shape (queries, documents), bool.
    """
    by_query: dict[int, list[np.ndarray]] = {}
    for sample in samples:
        by_query.setdefault(int(data.query_class[sample]), []).append(data.text_class[data.positives[sample]])
    known = {query: np.isin(classes, np.concatenate([*found, [query]])) for query, found in by_query.items()}
    return np.stack([known[int(data.query_class[sample])] for sample in samples])


def _sts_batch(data: StsData, pairs: np.ndarray, texts: _TextNumbers) -> StsBatch:
    first = np.array([texts(QUERY, data.first[pair]) for pair in pairs])
    second = np.array([texts(QUERY, data.second[pair]) for pair in pairs])
    return StsBatch(first, second, data.scores[pairs])
