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
        positions = np.where(keys == EMPTY, -1, _LOW - (keys & _LOW))
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


def scores_of(keys: np.ndarray) -> np.ndarray:
    """Return the float32 scores that ``keys`` hold; the score of EMPTY keys is meaningless."""
    ordered = (keys >> 32).astype(np.int32)
    return np.where(ordered < 0, ordered ^ np.int32(0x7FFFFFFF), ordered).astype(np.int32).view(np.float32)


class BestOf:
    """A running top k of several queries over blocks of documents.

    Only scores above a query's threshold, its k-th best at some time so far, are looked at again: they join a buffer
    that is cut back to k when it is full. Memory is ``queries * 4 * k * 8`` bytes, whatever the number of documents.

    Parameters
    ----------
    queries, k
        Rows, and how many documents each keeps.
    """

    def __init__(self, queries: int, k: int) -> None:
        self.k = k
        self._keys = np.full((queries, 4 * k), EMPTY, np.int64)
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
        if (counts > self._keys.shape[1] - self.k).any():
            self._add_crowded(scores, first)
            return
        if 2 * self._count.sum() > self._keys.size or (self._count + counts > self._keys.shape[1]).any():
            self._cut_back()
        every_row = np.arange(len(scores))
        slots = every_row * self._keys.shape[1] + self._count + counts - np.cumsum(counts)
        positions = found + (first - every_row * scores.shape[1])[rows]
        self._keys.reshape(-1)[np.arange(len(rows)) + slots[rows]] = pack(scores.reshape(-1)[found], positions)
        self._count += counts

    def keys(self) -> np.ndarray:
        """Return the keys of the best k, int64 of shape (queries, k), unsorted, EMPTY where there are fewer."""
        self._cut_back()
        return self._keys[:, : self.k].copy()

    def _add_crowded(self, scores: np.ndarray, first: int) -> None:
        """Take in a block of which too much is above the thresholds, such as the first, in narrow parts."""
        width = self._keys.shape[1] - self.k
        for start in range(0, scores.shape[1], width):
            self._cut_back()
            part = scores[:, start : start + width]
            keys = pack(part, first + start + np.arange(part.shape[1]))
            self._keys[:, self.k : self.k + part.shape[1]] = np.where(part > self._threshold, keys, EMPTY)
        self._cut_back()

    def _cut_back(self) -> None:
        """Keep the best k of each row's buffer and make the worst of them its threshold."""
        k = self.k
        self._keys[:, :k] = np.partition(self._keys, self._keys.shape[1] - k, axis=1)[:, -k:]
        self._keys[:, k:] = EMPTY
        worst = self._keys[:, :k].min(axis=1, keepdims=True)
        self._threshold = np.where(worst == EMPTY, -np.inf, scores_of(worst)).astype(np.float32)
        self._count = (self._keys[:, :k] != EMPTY).sum(axis=1) if (worst == EMPTY).any() else np.full(len(worst), k)
