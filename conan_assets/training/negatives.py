"""Dynamic hard negatives: which candidates are a sample's negatives now, and which have become too easy.

The rules read scores that the loss computed anyway, so they encode nothing. A replacement takes effect the next time
its sample is drawn. The whole table is part of a run's saved state.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from conan_assets.training.columns import Lists
from conan_assets.training.samples import RetrievalSamples
from conan_assets.training.settings import DynamicNegativeSettings

NONE = -1
NOTHING = np.empty(0, np.int32)


@dataclass(frozen=True)
class Replacements:
    """What one update saw and did.

    Attributes
    ----------
    trained_on
        Negatives swapped in earlier that took part in a loss for the first time.
    replaced, exhausted
        Negatives replaced, and negatives that were due while their pool was exhausted.
    """

    trained_on: int = 0
    replaced: int = 0
    exhausted: int = 0


class NegativeTable:
    """The current hard negatives of every sample.

    Attributes
    ----------
    current
        Positions in the sample's pool, int32 of shape (samples, n); -1 where the pool is too short.
    first_score
        Cosine to the query when the negative was first used, S_0; NaN before. Float32 of shape (samples, n).
    last_score
        Mean cosine to a sample's current negatives when it was last drawn, S; NaN before. Float32 of shape (samples,).
    next_position
        Where in the pool the next replacement comes from, int32 of shape (samples,).
    replaced, exhausted
        Replacements so far, and whether one failed because the pool was used up; shape (samples,).
    """

    STATE = ("current", "first_score", "last_score", "next_position", "replaced", "exhausted")

    def __init__(self, pools: Lists, negatives_per_query: int, settings: DynamicNegativeSettings) -> None:
        samples, size = len(pools.lengths), negatives_per_query
        positions = np.arange(size, dtype=np.int32)[None, :]
        self.settings = settings
        self.size = size
        self.pool_lengths = pools.lengths
        self.current = np.where(positions < pools.lengths[:, None], positions, np.int32(NONE))
        self.first_score = np.full((samples, size), np.nan, np.float32)
        self.last_score = np.full(samples, np.nan, np.float32)
        offset = settings.v1_window_offset if settings.rule == "v1" else None
        self.next_position = np.full(samples, size if offset is None else offset, np.int32)
        self.replaced = np.zeros(samples, np.int32)
        self.exhausted = np.zeros(samples, bool)

    @property
    def missing(self) -> int:
        """Negatives that samples lack because their pools are too short."""
        return int((self.current == NONE).sum())

    def to_arrow(self, samples: RetrievalSamples) -> pa.Table:
        """Return a row per sample: what became of its negatives, and the ids of the texts that gave way."""
        columns = {"current": self.current, "first_score": self.first_score}
        lists = {
            name: pa.FixedSizeListArray.from_arrays(values.ravel(), values.shape[1]) for name, values in columns.items()
        }
        gone = [samples.candidates[i][self._gave_way(i)] if self.replaced[i] else NOTHING for i in range(len(samples))]
        offsets = pa.array(np.cumsum([0, *map(len, gone)]), pa.int64())
        ids = samples.text_ids.array.take(pa.array(np.concatenate([NOTHING, *gone]), pa.int64()))
        ends = {"replaced": self.replaced, "exhausted": self.exhausted}
        gave_way = pa.LargeListArray.from_arrays(offsets, ids)
        return pa.table({"sample_id": samples.sample_ids.array, **lists, **ends, "gave_way": gave_way})

    def _gave_way(self, sample: int) -> np.ndarray:
        """Return the positions in a sample's pool that were its negatives once and are no more."""
        taken = np.arange(min(self.next_position[sample], self.pool_lengths[sample]))
        if self.settings.rule == "v1" and self.settings.v1_window_offset is not None:
            taken = taken[(taken < self.size) | (taken >= self.settings.v1_window_offset)]
        return np.setdiff1d(taken, self.current[sample])

    def swapped_in(self, samples: np.ndarray) -> np.ndarray:
        """Return which current negatives of ``samples`` were not in their first set, bool of shape (samples, n)."""
        exhausted: np.ndarray = self.current[samples] >= self.size
        return exhausted

    def update(self, step: int, samples: np.ndarray, scores: np.ndarray, positive: np.ndarray) -> Replacements:
        """Take in the scores of a step (from 1) and replace what has become easy.

        Parameters
        ----------
        samples
            The samples of the step, shape (queries,).
        scores
            Cosines of each query and its current negatives, shape (queries, n); NaN where it has none.
        positive
            Cosine of each query and its positive, shape (queries,).
        """
        if self.settings.rule == "none" or self.size == 0:
            return Replacements()
        samples, first = np.unique(samples, return_index=True)
        scores, positive = scores[first], positive[first]
        seen = self.first_score[samples]
        self.first_score[samples] = np.where(np.isnan(seen), scores, seen)
        trained_on = int((np.isnan(seen) & ~np.isnan(scores) & self.swapped_in(samples)).sum())
        if self.settings.rule == "v2":
            return self._replace_singles(samples, scores, positive, trained_on)
        self.last_score[samples] = _row_means(scores)
        return (
            self._replace_windows(trained_on) if step % self.settings.v1_every_steps == 0 else Replacements(trained_on)
        )

    def _replace_singles(
        self, samples: np.ndarray, scores: np.ndarray, positive: np.ndarray, trained_on: int
    ) -> Replacements:
        """Replace a negative if S_0 < floor, or if ratio * S < S_0 and S < ceiling (Conan-embedding-v2)."""
        settings, first = self.settings, self.first_score[samples]
        due = (first < settings.v2_floor) | ((settings.v2_ratio * scores < first) & (scores < settings.v2_ceiling))
        if settings.guard:
            due |= self.swapped_in(samples) & (scores > positive[:, None])
        position = self.next_position[samples][:, None] + np.cumsum(due, axis=1, dtype=np.int32) - 1
        possible = due & (position < self.pool_lengths[samples][:, None])
        self.current[samples] = np.where(possible, position, self.current[samples])
        self.first_score[samples] = np.where(possible, np.nan, first)
        self.next_position[samples] += possible.sum(axis=1, dtype=np.int32)
        self.replaced[samples] += possible.sum(axis=1, dtype=np.int32)
        self.exhausted[samples] |= (due & ~possible).any(axis=1)
        return Replacements(trained_on, int(possible.sum()), int((due & ~possible).sum()))

    def _replace_windows(self, trained_on: int) -> Replacements:
        """Move a set on if ratio * S < S_init and |S| < ceiling (Conan-embedding, "Dynamic Hard Negative Mining")."""
        settings, mean = self.settings, self.last_score
        due = (settings.v1_ratio * mean < _row_means(self.first_score)) & (np.abs(mean) < settings.v1_ceiling)
        possible = due & (self.next_position + self.size <= self.pool_lengths)
        window = self.next_position[possible][:, None] + np.arange(self.size, dtype=np.int32)
        self.current[possible] = window
        self.first_score[possible] = np.nan
        self.last_score[possible] = np.nan
        self.next_position[possible] += self.size
        self.replaced[possible] += self.size
        self.exhausted |= due & ~possible
        return Replacements(trained_on, int(possible.sum()) * self.size, int((due & ~possible).sum()) * self.size)


def _row_means(scores: np.ndarray) -> np.ndarray:
    """Return the mean of each row's numbers; NaN for a row without any."""
    known = ~np.isnan(scores)
    total = np.where(known, scores, 0.0).sum(axis=1)
    counts = known.sum(axis=1)
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan).astype(np.float32)
