"""The k best of many scored documents, exactly and in one total order: higher score first, then lower position.

A score and a position are packed into one int64 that sorts like the pair, so that selecting, merging and storing
results are sorts of one array.
"""

from dataclasses import dataclass

import numpy as np

EMPTY = np.iinfo(np.int64).min
"""The key of no document; it sorts after every real one."""

_LOW = np.int64(0xFFFFFFFF)


@dataclass(frozen=True)
class Neighbours:
    """The best documents of every query, best first.

    Attributes
    ----------
    positions
        int64 of shape (queries, k): positions of documents, -1 where a query has fewer than k.
    scores
        float32 of shape (queries, k), -inf where the position is -1.
    """

    positions: np.ndarray
    scores: np.ndarray

    def part(self, start: int, stop: int) -> "Neighbours":
        """Return the results of queries ``start`` to ``stop``."""
        return Neighbours(self.positions[start:stop], self.scores[start:stop])

    @classmethod
    def from_keys(cls, keys: np.ndarray) -> "Neighbours":
        """Unpack keys of shape (queries, k) and sort every row."""
        keys = np.sort(keys, axis=1)[:, ::-1]
        positions = np.where(keys == EMPTY, -1, positions_of(keys))
        return cls(positions, np.where(keys == EMPTY, -np.inf, scores_of(keys)).astype(np.float32))


def pack(scores: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return int64 keys that sort like (score ascending, position descending).

    Parameters
    ----------
    scores
        float32 without NaN.
    positions
        Integers from 0 to 2**32 - 1, of a shape that broadcasts with ``scores``.
    """
    return (scores_to_integers(scores) << 32) | (_LOW - positions)


def scores_to_integers(scores: np.ndarray) -> np.ndarray:
    """Return int64 values of 32 bits that sort like float32 ``scores`` without NaN."""
    bits = (scores + np.float32(0)).view(np.int32)  # adding 0 turns -0.0 into 0.0
    return (bits ^ ((bits >> 31) & np.int32(0x7FFFFFFF))).astype(np.int64)


def positions_of(keys: np.ndarray) -> np.ndarray:
    """Return the positions that ``keys`` hold, int64; the position of EMPTY keys is meaningless."""
    return _LOW - (keys & _LOW)


def scores_of(keys: np.ndarray) -> np.ndarray:
    """Return the float32 scores that ``keys`` hold; the score of EMPTY keys is meaningless."""
    ordered = (keys >> 32).astype(np.int32)
    return np.where(ordered < 0, ordered ^ np.int32(0x7FFFFFFF), ordered).astype(np.int32).view(np.float32)


class CrowdedError(RuntimeError):
    """More documents are too close to the k-th best than there is room for."""


class BestOf:
    """A running top k of several queries over blocks of documents.

    Only scores above a query's threshold, its k-th best at some time so far, are looked at again: they join a buffer
    that is cut back when it is full. Memory is ``queries * 4 * k * 8`` bytes, whatever the number of documents.

    Parameters
    ----------
    queries, k
        Rows, and how many documents each keeps.
    """

    _width = 4

    def __init__(self, queries: int, k: int) -> None:
        self.k = k
        self._keys = np.full((queries, self._width * k), EMPTY, np.int64)
        self._count = np.zeros(queries, np.int64)
        self._threshold = np.full((queries, 1), -np.inf, np.float32)

    def add(self, scores: np.ndarray, first: int) -> None:
        """Take in float32 ``scores`` of shape (queries, documents); -inf is never taken.

        Parameters
        ----------
        first
            Position of the block's first document; blocks come in ascending order.
        """
        found = np.flatnonzero(scores > self._threshold)
        rows = found // scores.shape[1]
        counts = np.bincount(rows, minlength=len(scores))
        width = self._keys.shape[1]
        if 2 * self._count.sum() > self._keys.size or (self._count + counts > width).any():
            self._cut_back()
        if (self._count + counts > width).any():
            self._add_crowded(scores, first)
            return
        every_row = np.arange(len(scores))
        slots = every_row * width + self._count + counts - np.cumsum(counts)
        positions = found + (first - every_row * scores.shape[1])[rows]
        self._keys.reshape(-1)[np.arange(len(rows)) + slots[rows]] = pack(scores.reshape(-1)[found], positions)
        self._count += counts

    def keys(self) -> np.ndarray:
        """Return the keys of the best k, int64 of shape (queries, k), EMPTY where there are fewer."""
        self._cut_back()
        return self._keys[:, : self.k].copy()

    def _add_crowded(self, scores: np.ndarray, first: int) -> None:
        """Take in a block of which too much is above the thresholds, such as the first, in narrow parts."""
        start = 0
        while start < scores.shape[1]:
            self._cut_back()
            part = scores[:, start : start + self._keys.shape[1] - self._count.max()]
            keys = pack(part, first + start + np.arange(part.shape[1]))
            self._keys[:, -part.shape[1] :] = np.where(part > self._threshold, keys, EMPTY)
            start += part.shape[1]
        self._cut_back()

    def _cut_back(self) -> None:
        """Sort each row's buffer, set its threshold by the k-th best and keep what may still matter in front."""
        self._keys = np.sort(self._keys, axis=1)[:, ::-1].copy()
        worst = self._keys[:, self.k - 1, None]
        self._threshold = np.where(worst == EMPTY, -np.inf, self._limit(scores_of(worst))).astype(np.float32)
        self._count = self._matters()
        self._keys[np.arange(self._keys.shape[1]) >= self._count[:, None]] = EMPTY

    def _limit(self, worst: np.ndarray) -> np.ndarray:
        return worst

    def _matters(self) -> np.ndarray:
        """Return how many of each row's sorted keys to keep."""
        found: np.ndarray = (self._keys[:, : self.k] != EMPTY).sum(axis=1)
        return found


class CloseToBest(BestOf):
    """A running set of all documents that score at most a margin below the k-th best of their query.

    Parameters
    ----------
    queries, k
        Rows, and the rank that the margin starts from.
    margin
        float64 of shape (queries,).
    relative
        Added to the margin: this share of the k-th best score.

    Raises
    ------
    CrowdedError
        There are more of them than seven times k; raised by the methods.
    """

    _width = 8

    def __init__(self, queries: int, k: int, margin: np.ndarray, relative: float) -> None:
        super().__init__(queries, k)
        self._margin = margin[:, None]
        self._relative = relative

    def keys(self) -> np.ndarray:
        """Return the keys of all of them, int64 of shape (queries, most of a query), EMPTY behind."""
        self._cut_back()
        return self._keys[:, : max(self.k, self._count.max())].copy()

    def _limit(self, worst: np.ndarray) -> np.ndarray:
        floors: np.ndarray = worst - self._margin - self._relative * np.abs(worst)
        return floors

    def _matters(self) -> np.ndarray:
        lowest = scores_to_integers(self._threshold) << 32
        counts: np.ndarray = ((self._keys >= lowest) & (self._keys != EMPTY)).sum(axis=1)
        if (counts > self._keys.shape[1] - self.k).any():
            raise CrowdedError
        return counts
