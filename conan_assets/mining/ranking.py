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
    return np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits).astype(np.int64)


def scores_of(keys: np.ndarray) -> np.ndarray:
    """Return the float32 scores that ``keys`` hold; the score of EMPTY keys is meaningless."""
    ordered = (keys >> 32).astype(np.int32)
    return np.where(ordered < 0, ordered ^ np.int32(0x7FFFFFFF), ordered).astype(np.int32).view(np.float32)


class BestOf:
    """A running top k of several queries over blocks of documents.

    Only scores above a query's current k-th best are looked at again: they join a buffer that is cut back to k when
    it fills up. Memory is ``queries * width * 8`` bytes, whatever the number of documents.

    Parameters
    ----------
    queries, k
        Rows, and how many documents each keeps.
    """

    def __init__(self, queries: int, k: int) -> None:
        self.k = k
        self.width = 4 * k
        self._keys = np.full((queries, self.width), EMPTY, np.int64)
        self._count = np.zeros(queries, np.int64)
        self.threshold = np.full((queries, 1), -np.inf, np.float32)

    def add(self, scores: np.ndarray, first: int) -> None:
        """Take in float32 ``scores`` of shape (queries, documents); -inf is never taken.

        Parameters
        ----------
        first
            Position of the block's first document.
        """
        found = np.flatnonzero(scores > self.threshold)
        rows, columns = np.divmod(found, scores.shape[1])
        counts = np.bincount(rows, minlength=len(scores))
        crowded = counts > self.width - self.k
        if crowded.any():
            self._add_crowded(scores, first, np.flatnonzero(crowded))
            keep = ~crowded[rows]
            found, rows, columns = found[keep], rows[keep], columns[keep]
            counts[crowded] = 0
        if (self._count + counts > self.width).any():
            self._cut_back()
        slots = self._count[rows] + np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows]
        self._keys[rows, slots] = pack(scores.reshape(-1)[found], columns + first)
        self._count += counts

    def keys(self) -> np.ndarray:
        """Return the keys of the best k, int64 of shape (queries, k), unsorted, EMPTY where there are fewer."""
        self._cut_back()
        return self._keys[:, : self.k].copy()

    def _add_crowded(self, scores: np.ndarray, first: int, rows: np.ndarray) -> None:
        block = scores[rows]
        keys = np.where(block == -np.inf, EMPTY, pack(block, first + np.arange(scores.shape[1])))
        both = np.concatenate([self._keys[rows], keys], axis=1)
        self._keys[rows, : self.k] = _largest(both, self.k)
        self._keys[rows, self.k :] = EMPTY
        self._count[rows] = self.k
        self._raise_threshold()

    def _cut_back(self) -> None:
        self._keys[:, : self.k] = _largest(self._keys, self.k)
        self._keys[:, self.k :] = EMPTY
        np.minimum(self._count, self.k, out=self._count)
        self._raise_threshold()

    def _raise_threshold(self) -> None:
        """Set each row's threshold to its k-th best key so far."""
        worst = self._keys[:, : self.k].min(axis=1, keepdims=True)
        self.threshold = np.where(worst == EMPTY, -np.inf, scores_of(worst)).astype(np.float32)


def _largest(keys: np.ndarray, k: int) -> np.ndarray:
    return np.partition(keys, keys.shape[1] - k, axis=1)[:, -k:]
