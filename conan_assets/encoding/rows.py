"""Rows of numbers on disk by key, appended to by several processes: three files, however many rows there are.

``rows.bin`` holds the rows, ``keys.bin`` 16 bytes for each, ``parts`` a line for every block of rows that was appended:
where it begins, how long it is, the digests of its rows, of its keys and of the line. The line is written last, when
the rest has reached the disk: what a killed writer leaves has no line, and no reader sees it. A part that is not what
was written is dropped with a warning; whoever needs its rows computes them again.
"""

import contextlib
import fcntl
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from conan_assets.files import atomic_path
from conan_assets.integrity import digest_of, set_aside

KEY = np.dtype("S16")
ROWS, KEYS, PARTS, LOCK = "rows.bin", "keys.bin", "parts", ".lock"

logger = logging.getLogger("conan_assets")


@dataclass(frozen=True)
class Part:
    """Rows that were appended at once: the number of the first, how many, their length, and what they must be."""

    start: int
    count: int
    width: int
    rows: str
    keys: str

    def line(self) -> str:
        """Return the part as a line that :func:`read_parts` takes as long as nothing in it has changed."""
        text = json.dumps(asdict(self))
        return f"{digest_of(text.encode())} {text}\n"


def read_parts(folder: Path) -> tuple[list[Part], int]:
    """Return the parts that a folder lists and the number of lines that are damaged; one cut off by a kill is none."""
    with contextlib.suppress(FileNotFoundError):
        text = (folder / PARTS).read_bytes()
        lines = text[: text.rfind(b"\n") + 1].splitlines()
        intact = [line for line in lines if digest_of(line[33:]) == line[:32].decode(errors="replace")]
        return [Part(**json.loads(line[33:])) for line in intact], len(lines) - len(intact)
    return [], 0


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
        self._parts: list[Part] = []
        self._intact: set[Part] = set()
        self._state = (0, 0)
        self._keys = np.empty(0, KEY)
        self._numbers = np.empty(0, np.int64)

    def locate(self, keys: np.ndarray) -> np.ndarray:
        """Return the number of the row of every key, int64 of shape (len(keys),), -1 where there is none."""
        self._refresh()
        found = self._look_up(keys)
        while damaged := [part for part in self._touched(found) if not self._is_intact(part)]:
            self._drop(damaged)
            found = self._look_up(keys)
        return found

    def append(self, keys: np.ndarray, rows: np.ndarray) -> None:
        """Store rows of shape (len(keys), width) under their keys."""
        rows, keys = np.ascontiguousarray(rows, self._dtype), np.ascontiguousarray(keys, KEY)
        width = rows.shape[1]
        files = ((ROWS, rows, width * self._dtype.itemsize), (KEYS, keys, KEY.itemsize))
        with self._locked():
            used = [-(-_size(self._folder / name) // length) for name, _, length in files]
            start = max(*used, *(part.start + part.count for part in read_parts(self._folder)[0]))
            for name, data, length in files:
                _write_at(self._folder / name, start * length, data)
            part = Part(start, len(keys), width, _digest(rows), _digest(keys))
            _append_line(self._folder / PARTS, part.line())
        self._intact.add(part)
        self._refresh()

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
        parts, lines = read_parts(self._folder)
        found = [self._message(part) for part in parts if not self._is_intact(part)]
        return [*([f"{self._folder / PARTS} has {lines} damaged lines"] if lines else []), *found]

    def repair(self) -> None:
        """Forget what is damaged, so that it is computed again when it is needed."""
        self._set_misplaced_aside()
        damaged = [part for part in read_parts(self._folder)[0] if not self._is_intact(part)]
        self._forget(damaged)
        self._list_without(damaged)

    def _look_up(self, keys: np.ndarray) -> np.ndarray:
        if not len(self._keys):
            return np.full(len(keys), -1, np.int64)
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[place] == keys, self._numbers[place], -1)

    def _touched(self, positions: np.ndarray) -> list[Part]:
        """Return the parts that hold any of the rows."""
        starts = np.array([part.start for part in self._parts], np.int64)
        numbers = np.unique(np.searchsorted(starts, positions[positions >= 0], side="right") - 1)
        return [self._parts[number] for number in numbers]

    def _refresh(self) -> None:
        """Take up what was listed, by this process or another, since the last time."""
        self._set_misplaced_aside()
        state = _state(self._folder / PARTS)
        if state == self._state:
            return
        listed, damaged = read_parts(self._folder)
        if damaged:
            logger.warning("%s has %s damaged lines; their rows are computed again", self._folder / PARTS, damaged)
            self._list_without([])
        self._state = _state(self._folder / PARTS)
        self._forget([part for part in self._parts if part not in listed])
        added = [part for part in listed if part not in self._parts]
        keys = [self._keys_of(part) for part in added]
        intact = [(part, own) for part, own in zip(added, keys, strict=True) if _digest(own) == part.keys]
        self._index(intact)
        self._drop([part for part in added if part not in self._parts])

    def _misplaced(self) -> Path | None:
        """Return what stands where a file of the rows belongs and is none: a folder, a link to nowhere."""
        places = (self._folder / name for name in (ROWS, KEYS, PARTS, LOCK))
        return next((place for place in places if os.path.lexists(place) and not place.is_file()), None)

    def _set_misplaced_aside(self) -> None:
        """Set all of the folder aside where something in it is no file; its rows are computed again."""
        if misplaced := self._misplaced():
            place = set_aside(self._folder, self._folder.parents[1])
            logger.warning("%s is no file; its folder is kept as %s and computed again", misplaced, place)

    def _index(self, added: list[tuple[Part, np.ndarray]]) -> None:
        self._parts = sorted([*self._parts, *(part for part, _ in added)], key=lambda part: part.start)
        keys = np.concatenate([np.empty(0, KEY), *(keys for _, keys in added)])
        numbers = [np.arange(part.start, part.start + part.count) for part, _ in added]
        order = np.argsort(keys, kind="stable")
        places = np.searchsorted(self._keys, keys[order], side="right")
        self._keys = np.insert(self._keys, places, keys[order])
        self._numbers = np.insert(self._numbers, places, np.concatenate([np.empty(0, np.int64), *numbers])[order])

    def _forget(self, parts: list[Part]) -> None:
        if parts:
            gone = np.concatenate([np.arange(part.start, part.start + part.count) for part in parts])
            stays = ~np.isin(self._numbers, gone)
            self._keys, self._numbers = self._keys[stays], self._numbers[stays]
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
            stay = [part.line() for part in read_parts(self._folder)[0] if part not in damaged]
            with atomic_path(self._folder / PARTS) as path:
                path.write_text("".join(stay), encoding="ascii")

    def _is_intact(self, part: Part) -> bool:
        if part not in self._intact:
            row = part.width * self._dtype.itemsize
            with contextlib.suppress(OSError, ValueError):
                rows = np.memmap(self._folder / ROWS, np.uint8, "r", part.start * row, (part.count * row,))
                if _digest(rows) == part.rows and _digest(self._keys_of(part)) == part.keys:
                    self._intact.add(part)
        return part in self._intact

    def _keys_of(self, part: Part) -> np.ndarray:
        try:
            return np.fromfile(self._folder / KEYS, KEY, part.count, offset=part.start * KEY.itemsize)
        except OSError:
            return np.empty(0, KEY)

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
    return _state(path)[1]


def _state(path: Path) -> tuple[int, int]:
    """Return which file a path names and its size, zeros where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_ino, status.st_size


def _write_at(path: Path, offset: int, data: np.ndarray) -> None:
    """Write an array's bytes into a file at ``offset``, through to the disk."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666), "wb") as file:
        file.seek(offset)
        file.write(data.reshape(-1).view(np.uint8).data)
        file.flush()
        os.fsync(file.fileno())


def _append_line(path: Path, line: str) -> None:
    """Append a line, through to the disk, in place of what a killed writer began."""
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
        file.seek(file.read().rfind(b"\n") + 1)
        file.truncate()
        file.write(line.encode("ascii"))
        file.flush()
        os.fsync(file.fileno())
