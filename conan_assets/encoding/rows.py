"""Rows of numbers on disk by key, appended to by several processes: three files, however many rows there are.

``rows.bin`` holds the rows, ``keys.bin`` 16 bytes for each, ``parts`` a line for every block of rows that was appended:
where it begins, how long it is, the digests of its rows, of its keys and of the line. The line is written last, when
the rest has reached the disk: what a killed writer leaves has no line, and no reader sees it. A part that is not what
was written is dropped with a warning; whoever needs its rows computes them again.
"""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from conan_assets.encoding.row_index import KEY, RowIndex, halves_of
from conan_assets.encoding.row_parts import Part, PartList, append_line, read_parts, state_of
from conan_assets.encoding.shared_parts import shared_parts_of
from conan_assets.files import atomic_path
from conan_assets.integrity import digest_of, set_aside

ROWS, KEYS, PARTS, LOCK = "rows.bin", "keys.bin", "parts", ".lock"

logger = logging.getLogger("conan_assets")


class StoredRows:
    """The rows below one folder; safe for several processes.

    Parameters
    ----------
    folder
        Created when first appended to.
    dtype
        Type of the numbers in a row.
    """

    def __init__(self, folder: Path, dtype: np.dtype) -> None:
        self._folder = folder
        self._dtype = dtype
        self._list = PartList(folder / PARTS)
        self._parts: list[Part] = []
        self._intact: set[Part] = set()
        self._index = RowIndex(self._keys_at)
        self._shared = shared_parts_of(folder, dtype)

    def locate(self, keys: np.ndarray) -> np.ndarray:
        """Return the number of the row of every key, int64 of shape (len(keys),), -1 where there is none.

        Rows that the bucket of the home has are fetched, and those of this machine that it lacks are put there.
        """
        found = self._locate_here(keys)
        if self._shared and (found < 0).any():
            self._shared.look()
            for part in self._shared.lacking(self._parts):
                if self._is_intact(part):
                    self._shared.put(part, self._keys_of(part), self._rows_of(part))
            for fetched in self._shared.holding(keys[found < 0], self._parts):
                self._append_here(*fetched)
            found = self._locate_here(keys)
        elif self._shared:
            self._shared.settle()
            self._shared.mark()
        return found

    def _locate_here(self, keys: np.ndarray) -> np.ndarray:
        self._refresh()
        found = self._index.find(keys)
        while damaged := [part for part in self._touched(found) if not self._is_intact(part)]:
            self._drop(damaged)
            found = self._index.find(keys)
        return found

    def append(self, keys: np.ndarray, rows: np.ndarray) -> None:
        """Store rows of shape (len(keys), width) under their keys."""
        part = self._append_here(keys, rows)
        if self._shared:
            self._shared.put(part, self._keys_of(part), self._rows_of(part))

    def _append_here(self, keys: np.ndarray, rows: np.ndarray) -> Part:
        rows, keys = np.ascontiguousarray(rows, self._dtype), np.ascontiguousarray(keys, KEY)
        width = rows.shape[1]
        files = ((ROWS, rows, width * self._dtype.itemsize), (KEYS, keys, KEY.itemsize))
        self._refresh()
        with self._locked():
            used = [-(-_size(self._folder / name) // length) for name, _, length in files]
            start = max(*used, *(part.stop for part in self._list.parts))
            for name, data, length in files:
                _write_at(self._folder / name, start * length, data)
            part = Part(start, len(keys), width, _digest(rows), _digest(keys))
            append_line(self._folder / PARTS, part.line())
        self._intact.add(part)
        self._refresh()
        return part

    def map(self) -> np.ndarray:
        """Return the rows, of shape (rows, width), mapped into memory: none is read before it is asked for."""
        if not self._parts:
            return np.empty((0, 0), self._dtype)
        width = self._parts[0].width
        length = _size(self._folder / ROWS) // (width * self._dtype.itemsize)
        return np.memmap(self._folder / ROWS, self._dtype, "r", shape=(length, width))

    def damaged(self) -> list[str]:
        """Return what is wrong in this folder, a message each that names the file; every row is read."""
        if misplaced := self._misplaced():
            return [f"{misplaced} is no file"]
        parts, lines = read_parts(self._folder / PARTS)
        found = [self._message(part) for part in parts if not self._is_intact(part)]
        return [*([f"{self._folder / PARTS} has {lines} damaged lines"] if lines else []), *found]

    def repair(self) -> None:
        """Forget what is damaged, so that it is computed again when it is needed."""
        self._set_misplaced_aside()
        damaged = [part for part in read_parts(self._folder / PARTS)[0] if not self._is_intact(part)]
        self._forget(damaged)
        self._list_without(damaged)

    def _touched(self, positions: np.ndarray) -> list[Part]:
        """Return the parts that hold any of the rows."""
        starts = np.array([part.start for part in self._parts], np.int64)
        numbers = np.unique(np.searchsorted(starts, positions[positions >= 0], side="right") - 1)
        return [self._parts[number] for number in numbers]

    def _refresh(self) -> None:
        """Take up what was listed, by this process or another, since the last time."""
        self._set_misplaced_aside()
        changes = self._list.update()
        if changes.damaged:
            logger.warning("%s has %s damaged lines; their rows are computed again", self._list.path, changes.damaged)
            self._list_without([])
        self._forget(changes.dropped)
        self._take_up(changes.added)

    def _misplaced(self) -> Path | None:
        """Return what stands where a file of the rows belongs and is none: a folder, a link to nowhere."""
        places = (self._folder / name for name in (ROWS, KEYS, PARTS, LOCK))
        return next((place for place in places if os.path.lexists(place) and not place.is_file()), None)

    def _set_misplaced_aside(self) -> None:
        """Set all of the folder aside where something in it is no file; its rows are computed again."""
        if misplaced := self._misplaced():
            place = set_aside(self._folder, self._folder.parents[1])
            logger.warning("%s is no file; its folder is kept as %s and computed again", misplaced, place)

    def _take_up(self, added: Sequence[Part]) -> None:
        """Know the rows of parts, and drop those whose keys are damaged."""
        halves: dict[Part, np.ndarray] = {}
        for part in added:
            keys = self._keys_of(part)
            if _digest(keys) == part.keys:
                halves[part] = halves_of(keys)
        self._parts = sorted([*self._parts, *halves], key=lambda part: part.start)
        self._index.add([(part.start, own) for part, own in halves.items()])
        self._drop([part for part in added if part not in halves])

    def _forget(self, parts: Sequence[Part]) -> None:
        for part in parts:
            self._index.remove(part.start, part.stop)
        if parts:
            self._parts = [part for part in self._parts if part not in parts]

    def _drop(self, damaged: list[Part]) -> None:
        """Forget parts, here and on disk; their bytes stay where they are, unread."""
        for part in damaged:
            logger.warning("%s; they are computed again", self._message(part))
        if damaged:
            self._forget(damaged)
            self._list_without(damaged)

    def _list_without(self, damaged: list[Part]) -> None:
        with self._locked():
            stay = [part.line() for part in read_parts(self._folder / PARTS)[0] if part not in damaged]
            with atomic_path(self._folder / PARTS) as path:
                path.write_text("".join(stay), encoding="ascii")

    def _is_intact(self, part: Part) -> bool:
        if part not in self._intact:
            with contextlib.suppress(OSError, ValueError):
                if _digest(self._rows_of(part)) == part.rows and _digest(self._keys_of(part)) == part.keys:
                    self._intact.add(part)
        return part in self._intact

    def _keys_of(self, part: Part) -> np.ndarray:
        try:
            return np.fromfile(self._folder / KEYS, KEY, part.count, offset=part.start * KEY.itemsize)
        except OSError:
            return np.empty(0, KEY)

    def _rows_of(self, part: Part) -> np.ndarray:
        row = part.width * self._dtype.itemsize
        return np.memmap(self._folder / ROWS, np.uint8, "r", part.start * row, (part.count * row,))

    def _keys_at(self, numbers: np.ndarray) -> np.ndarray:
        """Return the whole keys of rows, empty ones where the file is too short."""
        keys = np.zeros(len(numbers), KEY)
        with contextlib.suppress(OSError, ValueError):
            stored = np.memmap(self._folder / KEYS, KEY, "r", shape=(_size(self._folder / KEYS) // KEY.itemsize,))
            inside = numbers < len(stored)
            keys[inside] = stored[numbers[inside]]
        return keys

    def _message(self, part: Part) -> str:
        return f"{self._folder / ROWS} or {KEYS} is damaged in rows {part.start} to {part.start + part.count - 1}"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _digest(array: np.ndarray) -> str:
    return digest_of(array.reshape(-1).view(np.uint8).data)


def _size(path: Path) -> int:
    return state_of(path)[1]


def _write_at(path: Path, offset: int, data: np.ndarray) -> None:
    """Write an array's bytes into a file at ``offset``, through to the disk."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666), "wb") as file:
        file.seek(offset)
        file.write(data.reshape(-1).view(np.uint8).data)
        file.flush()
        os.fsync(file.fileno())
