"""Where the row of a key lies, in 12 bytes a row: half of a key finds it, the whole key on the disk confirms it."""

from collections.abc import Callable, Sequence

import numpy as np

KEY = np.dtype("S16")
LAST_SHORT_NUMBER = 2**32 - 1


class RowIndex:
    """The numbers of rows by the first halves of their keys, sorted.

    Parameters
    ----------
    keys_of
        Returns the whole keys of rows, of dtype S16 and shape (len(numbers),); those of a row that is gone are empty.
    """

    def __init__(self, keys_of: Callable[[np.ndarray], np.ndarray]) -> None:
        self._keys_of = keys_of
        self._halves = np.empty(0, np.uint64)
        self._numbers = np.empty(0, np.uint32)

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Return the number of the row of every key, int64 of shape (len(keys),), -1 where there is none."""
        wanted = halves_of(keys)
        places = np.searchsorted(self._halves, wanted)
        found, unsure = np.full(len(keys), -1, np.int64), np.arange(len(keys))
        while len(unsure := unsure[self._holds(places[unsure], wanted[unsure])]):
            numbers = self._numbers[places[unsure]].astype(np.int64)
            same = self._keys_of(numbers) == keys[unsure]
            found[unsure[same]] = numbers[same]
            unsure = unsure[~same]
            places[unsure] += 1
        return found

    def add(self, rows: Sequence[tuple[int, np.ndarray]]) -> None:
        """Know more rows: for each part the number of its first row, and what :func:`halves_of` its keys returns."""
        if not rows:
            return
        halves = np.concatenate([own for _, own in rows])
        last = max(start + len(own) for start, own in rows)
        kind = np.uint32 if last <= LAST_SHORT_NUMBER else np.int64
        numbers = np.concatenate([np.arange(start, start + len(own), dtype=kind) for start, own in rows])
        order = np.argsort(halves, kind="stable")
        halves, numbers = halves[order], numbers[order]
        if len(self._halves):
            places = np.searchsorted(self._halves, halves, side="right")
            numbers = np.insert(self._numbers.astype(np.promote_types(kind, self._numbers.dtype)), places, numbers)
            halves = np.insert(self._halves, places, halves)
        self._halves, self._numbers = halves, numbers

    def remove(self, start: int, stop: int) -> None:
        """Know rows ``start`` to ``stop`` no more."""
        stays = (self._numbers < start) | (self._numbers >= stop)
        self._halves, self._numbers = self._halves[stays], self._numbers[stays]

    def _holds(self, places: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """Return whether there is a row at each place that may be the one."""
        if not len(self._halves):
            return np.zeros(len(places), bool)
        inside = places < len(self._halves)
        holds: np.ndarray = inside & (self._halves[np.where(inside, places, 0)] == wanted)
        return holds


def halves_of(keys: np.ndarray) -> np.ndarray:
    """Return the first halves of keys, uint64 of shape (len(keys),)."""
    return np.ascontiguousarray(keys, KEY).view(np.uint64).reshape(-1, 2)[:, 0].copy()
