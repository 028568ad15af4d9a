"""The global batch of every step: drawn and de-duplicated once, the same on every process, then split.

A batch is a pure function of the seed, the step and the table of current negatives, so a resumed run needs to know
nothing else.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import numpy as np

from conan_assets.training.data import TrainingData
from conan_assets.training.negatives import NegativeTable
from conan_assets.training.retrieval_batch import RetrievalBatch, build_retrieval_batch
from conan_assets.training.samples import RetrievalSamples
from conan_assets.training.settings import TrainingSettings
from conan_assets.training.texts import DOCUMENT, Text, TextNumbers

FEWEST_PAIRS = 2
"""CoSENT compares pairs: one alone teaches nothing."""


@dataclass(frozen=True)
class StsBatch:
    """Sentence pairs as positions in the batch's texts, their labels, and their rows; each of shape (pairs,)."""

    first: np.ndarray
    second: np.ndarray
    labels: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True)
class Batch:
    """One optimizer step's texts, each once, and the tasks over them; ``sts_from`` texts and later are of STS alone."""

    texts: list[Text]
    sts_from: int
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
        retrieval, sts = len(data.retrieval or ()), len(data.sts or ())
        self.retrieval_size = min(settings.retrieval_batch_size, retrieval)
        self.sts_size = min(_sts_batch_size(settings, self.retrieval_size, retrieval, sts), sts)
        batches = retrieval / self.retrieval_size if retrieval else sts / self.sts_size
        if settings.balance == "single_task" and retrieval and sts:
            batches += sts / self.sts_size
        self.sts_share = sts / self.sts_size / batches if sts else 0.0
        steps = ceil(settings.epochs * batches)
        self.steps = min(steps, settings.max_steps or steps)
        self._order = lru_cache(maxsize=4)(self._shuffle)

    def batch(self, step: int) -> Batch:
        """Return the batch of ``step``, counted from 0."""
        turns = self._turns(step)
        texts = TextNumbers()
        retrieval = self._retrieval(turns["retrieval"], texts) if "retrieval" in turns else None
        sts_from = len(texts)
        sts = self._sts(turns["sts"], texts) if "sts" in turns else None
        return Batch(texts.texts, sts_from, retrieval, sts)

    def _turns(self, step: int) -> dict[str, int]:
        """Return the tasks of a step, and for each how many steps have trained it before."""
        tasks = {name: step for name, size in (("retrieval", self.retrieval_size), ("sts", self.sts_size)) if size}
        if self.settings.balance == "cbb" or len(tasks) < 2:
            return tasks
        earlier, now = int(step * self.sts_share), int((step + 1) * self.sts_share)
        return {"sts": earlier} if now > earlier else {"retrieval": step - earlier}

    def _retrieval(self, turn: int, texts: TextNumbers) -> RetrievalBatch:
        samples, table = self.data.retrieval, self.table
        assert samples is not None
        assert table is not None
        drawn = self._draw(turn, len(samples), self.retrieval_size, "retrieval")
        positives = self._draw_positives(turn, samples, drawn)
        return build_retrieval_batch(samples, drawn, positives, table, self.settings.in_batch_negatives, texts)

    def _sts(self, turn: int, texts: TextNumbers) -> StsBatch:
        pairs = self.data.sts
        assert pairs is not None
        drawn = self._draw(turn, len(pairs), self.sts_size, "sts")
        first = np.array([texts.number(DOCUMENT, pairs.first[pair]) for pair in drawn])
        second = np.array([texts.number(DOCUMENT, pairs.second[pair]) for pair in drawn])
        return StsBatch(first, second, pairs.scores[drawn], drawn)

    def _draw(self, turn: int, items: int, size: int, task: str) -> np.ndarray:
        """Return the ``size`` items of a turn from an endless row of shuffled epochs."""
        epochs, within = np.divmod(np.arange(turn * size, (turn + 1) * size), items)
        drawn = np.empty(size, np.int64)
        for epoch in np.unique(epochs):
            drawn[epochs == epoch] = self._order(task, int(epoch), items)[within[epochs == epoch]]
        return drawn

    def _shuffle(self, task: str, epoch: int, items: int) -> np.ndarray:
        return self._generator(task, epoch).permutation(items)

    def _draw_positives(self, turn: int, samples: RetrievalSamples, drawn: np.ndarray) -> np.ndarray:
        """Return the place of one of each sample's positives in its list; not the query's own text, if it can be."""
        lengths = samples.positives.lengths[drawn]
        chosen: np.ndarray = self._generator("positive", turn).integers(lengths)
        for row, sample in enumerate(drawn):
            others = np.flatnonzero(samples.text_class[samples.positives[sample]] != samples.query_class[sample])
            if len(others) and chosen[row] not in others:
                chosen[row] = others[chosen[row] % len(others)]
        return chosen

    def _generator(self, purpose: str, number: int) -> np.random.Generator:
        return np.random.default_rng([self.settings.seed, *purpose.encode(), number])


def _sts_batch_size(settings: TrainingSettings, queries_per_step: int, queries: int, pairs: int) -> int:
    """Return how many STS pairs a step trains; where the size is ``even``, an epoch of queries sees each pair once."""
    if settings.sts_batch_size != "even":
        return settings.sts_batch_size
    even = pairs * queries_per_step / queries if queries else settings.retrieval_batch_size
    return max(FEWEST_PAIRS, round(even))
