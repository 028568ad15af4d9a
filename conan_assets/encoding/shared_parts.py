"""The parts of stored rows in a bucket: two objects each, named by what is in them, the keys last.

A part whose keys are not there is not there. What is appended here is put there on the side; the rows of another
machine are fetched when one of them is asked for.
"""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from conan_assets.bucket.working_copy import WorkingCopy, working_copy_of
from conan_assets.encoding.row_index import KEY
from conan_assets.encoding.row_parts import Part
from conan_assets.integrity import digest_of

ROWS, KEYS = ".rows", ".keys"
READ = "read"
"""Object that is put among the parts whenever a run reads them: what nobody reads is deleted."""
MOST_UNDER_WAY = 4
"""Parts that wait to be uploaded, some 25 MB each."""

logger = logging.getLogger("conan_assets")


class SharedParts:
    """What the bucket has of the rows below one folder of a working copy."""

    def __init__(self, copy: WorkingCopy, folder: Path, dtype: np.dtype) -> None:
        self._bucket, self._prefix = copy.bucket, copy.object_of(folder)
        self._dtype = dtype
        self._uploads = ThreadPoolExecutor(1)
        self._under_way: list[Future[None]] = []
        self._there: set[str] = set()
        self._keys: dict[str, np.ndarray] = {}
        self._is_marked = False

    def put(self, part: Part, keys: np.ndarray, rows: np.ndarray) -> None:
        """Put a part into the bucket while the caller goes on.

        Raises
        ------
        BucketError
            An earlier part could not be put there; it is tried again when this machine opens the rows next.
        """
        if len(self._under_way) >= MOST_UNDER_WAY:
            self._under_way.pop(0).result()
        self._under_way.append(self._uploads.submit(self._put, _name(part), keys.tobytes(), rows.tobytes()))

    def settle(self) -> None:
        """Return when all parts are in the bucket; raise BucketError if one is not."""
        while self._under_way:
            self._under_way.pop(0).result()

    def look(self) -> None:
        """Know what is in the bucket by now, and note that it is read."""
        self.settle()
        names = self._bucket.list(self._prefix)
        self._there = {name.rpartition("/")[2].removesuffix(KEYS) for name in names if name.endswith(KEYS)}
        if self._there:
            self.mark()

    def mark(self) -> None:
        """Note in the bucket that these rows are read, once."""
        if not self._is_marked:
            self._bucket.put(f"{self._prefix}/{READ}", b"")
            self._is_marked = True

    def lacking(self, own: Sequence[Part]) -> list[Part]:
        """Return those of the parts of this machine that are not in the bucket."""
        return [part for part in own if _name(part) not in self._there]

    def holding(self, wanted: np.ndarray, own: Sequence[Part]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield keys and rows of every part that is not ``own`` and holds a key that is ``wanted``."""
        ordered = np.unique(wanted)
        for name in sorted(self._there - {_name(part) for part in own}):
            if name not in self._keys:
                self._keys[name] = self._fetched(name, KEYS, name.rpartition("-")[2], KEY)
            keys = self._keys[name]
            place = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
            if (ordered[place] == keys).any():
                rows = self._fetched(name, ROWS, name.partition("-")[0], self._dtype)
                if len(rows):
                    yield self._keys.pop(name), rows.reshape(len(keys), -1)

    def _put(self, name: str, keys: bytes, rows: bytes) -> None:
        self._bucket.put(f"{self._prefix}/{name}{ROWS}", rows)
        self._bucket.put(f"{self._prefix}/{name}{KEYS}", keys)
        self._there.add(name)

    def _fetched(self, name: str, suffix: str, digest: str, dtype: np.dtype) -> np.ndarray:
        """Return the numbers in an object, or none where they are damaged: the part is no part any more."""
        place = f"{self._prefix}/{name}{suffix}"
        found = self._bucket.get(place)
        if found is not None and digest_of(found.content) == digest:
            return np.frombuffer(found.content, dtype)
        logger.warning("%s/%s is damaged; its rows are computed again", self._bucket.address, place)
        self._bucket.delete([f"{self._prefix}/{name}{KEYS}"])
        self._there.discard(name)
        return np.empty(0, dtype)


def shared_parts_of(folder: Path, dtype: np.dtype) -> SharedParts | None:
    """Return what the bucket has of the rows below ``folder``, or None where their home is in none."""
    copy = working_copy_of(folder)
    return SharedParts(copy, folder, dtype) if copy else None


def _name(part: Part) -> str:
    return f"{part.rows}-{part.keys}"
