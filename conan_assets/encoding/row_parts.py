"""The list of the parts of stored rows: a line for each, appended when all else of the part has reached the disk."""

import contextlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from conan_assets.integrity import digest_of

DIGEST_DIGITS = 32
LONGEST_LINE = 4_096
"""Bytes, more than a line has."""


@dataclass(frozen=True)
class Part:
    """Rows that were appended at once: the number of the first, how many, their length, and what they must be."""

    start: int
    count: int
    width: int
    rows: str
    keys: str

    @property
    def stop(self) -> int:
        """The number after that of the last row."""
        return self.start + self.count

    def line(self) -> str:
        """Return the part as a line that is read as long as nothing in it has changed."""
        text = json.dumps(asdict(self))
        return f"{digest_of(text.encode())} {text}\n"


@dataclass(frozen=True)
class Changes:
    """What a list says that it did not say before: parts that came, parts that went, lines that are damaged."""

    added: list[Part] = field(default_factory=list)
    dropped: list[Part] = field(default_factory=list)
    damaged: int = 0


class PartList:
    """A file of parts as it was read last; lines that are appended to it are read once, however many there are."""

    def __init__(self, path: Path) -> None:
        self.parts: list[Part] = []
        self.path = path
        self._file, self._read = 0, 0

    def update(self) -> Changes:
        """Read what is new, and return it; a line cut off by a kill is none."""
        number, size = state_of(self.path)
        if number == self._file and size >= self._read:
            added, damaged = self._lines()
            self.parts += added
            return Changes(added, damaged=damaged)
        self._file, self._read = number, 0
        listed, damaged = self._lines()
        known, stay = set(self.parts), set(listed)
        changes = Changes(
            [part for part in listed if part not in known], [part for part in self.parts if part not in stay], damaged
        )
        self.parts = listed
        return changes

    def _lines(self) -> tuple[list[Part], int]:
        """Return the parts of the lines that were not read yet, and how many are damaged."""
        with contextlib.suppress(FileNotFoundError), self.path.open("rb") as file:
            file.seek(self._read)
            text = file.read()
            text = text[: text.rfind(b"\n") + 1]
            self._read += len(text)
            lines = text.splitlines()
            intact = [line for line in lines if _is_intact(line)]
            return [Part(**json.loads(line[DIGEST_DIGITS + 1 :])) for line in intact], len(lines) - len(intact)
        return [], 0


def read_parts(path: Path) -> tuple[list[Part], int]:
    """Return the parts that a file lists and the number of lines that are damaged."""
    parts = PartList(path)
    damaged = parts.update().damaged
    return parts.parts, damaged


def append_line(path: Path, line: str) -> None:
    """Append a line, through to the disk, in place of what a killed writer began."""
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
        last = max(0, file.seek(0, os.SEEK_END) - LONGEST_LINE)
        file.seek(last)
        file.seek(last + file.read().rfind(b"\n") + 1)
        file.truncate()
        file.write(line.encode("ascii"))
        file.flush()
        os.fsync(file.fileno())


def state_of(path: Path) -> tuple[int, int]:
    """Return which file a path names and its size, zeros where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0, 0
    return status.st_ino, status.st_size


def _is_intact(line: bytes) -> bool:
    return digest_of(line[DIGEST_DIGITS + 1 :]) == line[:DIGEST_DIGITS].decode(errors="replace")
