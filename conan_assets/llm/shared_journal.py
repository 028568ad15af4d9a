"""A journal that several machines write to through a bucket: parts of whole lines, each an object named by its content.

The file on this machine is one part after another, its own and those of others, and at its end what was not sent yet; a
file beside it lists the parts. A line that comes twice says the same twice.
"""

import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from conan_assets.bucket.errors import BucketError
from conan_assets.bucket.working_copy import WorkingCopy, working_copy_of
from conan_assets.integrity import digest_of

SECONDS_BETWEEN_PARTS = 30.0
"""What a machine that is lost takes with it: the answers of this time."""
LIST = ".parts"

logger = logging.getLogger("conan_assets")


class SharedJournal:
    """The parts of the journal ``path`` in the bucket of the working copy that it lies in."""

    def __init__(self, copy: WorkingCopy, path: Path) -> None:
        self._bucket, self._prefix = copy.bucket, copy.object_of(path)
        self._path = path
        self._list = path.with_name(f"{path.name}{LIST}")
        self._sending = threading.Lock()
        self._due = threading.Event()
        self._is_closed = False
        self._number = 0
        self._sent = 0

    def take_up(self, file: BinaryIO) -> Iterator[bytes]:
        """Send what an earlier run did not, append the parts that are not in ``file`` and yield them.

        From then on what is appended is sent on the side. ``file`` is the journal, locked, opened to read and append.
        """
        known = self._listed(os.fstat(file.fileno()).st_size)
        self._number = max((_number_of(name) for name in self._names()), default=0)
        self.send()
        for name, content in self._parts_besides(known):
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            self._note(name, len(content))
            yield content
        threading.Thread(target=self._send_now_and_then, daemon=True).start()

    def elsewhere(self) -> Iterator[bytes]:
        """Yield the parts that the file on this machine does not have."""
        return (content for _, content in self._parts_besides({*self._lines()}))

    def send(self) -> None:
        """Put what was appended to the file since the last time into the bucket; BucketError if that fails."""
        with self._sending, self._path.open("rb") as file:
            file.seek(self._sent)
            content = file.read()
            content = content[: content.rfind(b"\n") + 1]
            if content:
                name = f"{self._number + 1:08d}-{digest_of(content)}"
                self._bucket.put(f"{self._prefix}/{name}", content)
                self._note(name, len(content))

    def send_soon(self) -> None:
        """Let what was appended be sent at once, on the side."""
        self._due.set()

    def close(self) -> None:
        """Send the rest; raise BucketError if that fails: the next run on this machine sends it."""
        self._is_closed = True
        self._due.set()
        self.send()

    def _send_now_and_then(self) -> None:
        while not self._is_closed:
            self._due.wait(SECONDS_BETWEEN_PARTS)
            self._due.clear()
            try:
                self.send()
            except BucketError as error:
                logger.warning("answers wait to be sent: %s", error)

    def _parts_besides(self, known: set[str]) -> Iterator[tuple[str, bytes]]:
        for name in self._names():
            found = None if name in known else self._bucket.get(f"{self._prefix}/{name}")
            if found is not None and digest_of(found.content) == name.partition("-")[2]:
                yield name, found.content
            elif found is not None:
                logger.warning("%s/%s/%s is damaged and left out", self._bucket.address, self._prefix, name)

    def _names(self) -> list[str]:
        return sorted(name.rpartition("/")[2] for name in self._bucket.list(self._prefix))

    def _listed(self, size: int) -> set[str]:
        """Return the parts that the file has; none where it is no longer what the list says: all is sent again."""
        lines = self._lines()
        self._sent = sum(lines.values())
        if self._sent > size or not _is_end_of_line(self._path, self._sent):
            self._list.unlink()
            self._sent, lines = 0, {}
        return {*lines}

    def _lines(self) -> dict[str, int]:
        """Return how many bytes each part of the file has, by its name, in order."""
        text = self._list.read_text(encoding="ascii") if self._list.exists() else ""
        return dict(json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n"))

    def _note(self, name: str, length: int) -> None:
        with self._list.open("a", encoding="ascii") as file:
            file.write(json.dumps([name, length]) + "\n")
        self._sent += length
        self._number = max(self._number, _number_of(name))


def shared_journal_of(path: Path) -> SharedJournal | None:
    """Return the parts of a journal in the bucket, or None where its home is in none."""
    copy = working_copy_of(path)
    return SharedJournal(copy, path) if copy else None


def _number_of(name: str) -> int:
    number = name.partition("-")[0]
    return int(number) if number.isdecimal() else 0


def _is_end_of_line(path: Path, place: int) -> bool:
    with path.open("rb") as file:
        file.seek(max(place - 1, 0))
        return place == 0 or file.read(1) == b"\n"
