"""What processes compute and keep in tests, and are killed at; they import no more than it takes."""

import contextlib
import os
import signal
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import ClassVar

from conan_assets.search.kept import KeepShard


@dataclass(frozen=True)
class Square:
    """Squares a number and notes who did; a process that is given ``deadly`` is killed while notes are missing."""

    notes: Path
    deadly: int = -1
    deaths: int = 0

    def __call__(self, number: int) -> int:
        if number == self.deadly and len(list(self.notes.glob("death-*"))) < self.deaths:
            (self.notes / f"death-{os.getpid()}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if number < 0:
            raise ValueError(f"{number} is below 0")
        (self.notes / f"process-{os.getpid()}").touch()
        return number**2


@dataclass(frozen=True)
class KilledWhileAnswering:
    """Squares a number; the first process that is given 3 is killed when half of its answer is sent."""

    notes: Path

    def __call__(self, number: int) -> int:
        with contextlib.suppress(FileExistsError):
            if number == 3:
                (self.notes / "death").touch(exist_ok=False)
                Connection._send = self.send_half
        return number**2

    @staticmethod
    def send_half(connection, content):
        os.write(connection.fileno(), content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class KeepNumber:
    """Keeps a number, whose holder says when asked who it is; holders of ``deadly`` are killed while notes are missing.

    Attributes
    ----------
    when
        "keep" or "ask": what they are killed at.
    """

    notes: Path
    deadly: int = -1
    deaths: int = 0
    when: str = "ask"

    def __call__(self, number):
        if number < 0:
            raise ValueError(f"{number} is below 0")
        self.die("keep", number)
        return partial(self.answer, number)

    def answer(self, number, task):
        self.die("ask", number)
        return {(number * task, os.getpid())}

    def die(self, when, number):
        if (when, number) == (self.when, self.deadly) and len(list(self.notes.glob("death-*"))) < self.deaths:
            (self.notes / f"death-{os.getpid()}").touch()
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class KeepFragileShard(KeepShard):
    """Kills the first process that is asked for anything."""

    notes: ClassVar[str] = "CONAN_TEST_NOTES"

    def __call__(self, shard):
        return partial(self.answer, super().__call__(shard))

    def answer(self, ranks, question):
        with contextlib.suppress(FileExistsError):
            Path(os.environ[self.notes], "death").touch(exist_ok=False)
            os.kill(os.getpid(), signal.SIGKILL)
        return ranks(question)
