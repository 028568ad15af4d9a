"""Every answer an endpoint ever gave, on disk: append-only, so that no answer is paid for twice."""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Collection, Iterable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import ConfigDict, NonNegativeInt, ValidationError
from pydantic.dataclasses import dataclass

from conan_assets.files import DISK_FULL, flush
from conan_assets.integrity import digest_of
from conan_assets.llm.shared_journal import shared_journal_of

JOURNAL = "answers.jsonl"
"""Name of the journal's file in its folder."""

SECONDS_BETWEEN_SYNCS = 1.0
"""A power cut loses the answers of this time at most; a kill of the process loses none."""

_DIGEST = b', "digest": "'
_CHECKED = ConfigDict(extra="forbid", strict=True)


class JournalError(RuntimeError):
    """The journal is damaged, in use by another run, or cannot be written."""


@dataclass(frozen=True, config=_CHECKED)
class Answer:
    """What an endpoint answered to one prompt, and which model it says that it was."""

    content: str
    finish_reason: str
    prompt_tokens: NonNegativeInt
    completion_tokens: NonNegativeInt
    refusal: str | None = None
    model: str = ""


@dataclass(frozen=True, config=_CHECKED)
class Submission:
    """A batch of prompts handed to a provider.

    Attributes
    ----------
    name
        Stands in the batch's metadata at the provider, to find a batch whose id a kill kept from the journal.
    endpoint
        The provider.
    keys
        Keys of its prompts.
    batch_id
        The provider's id, once it is known.
    collected
        Whether its answers are in the journal.
    model
        Name of the model that was asked to answer.
    """

    name: str
    endpoint: str
    keys: tuple[str, ...]
    batch_id: str | None = None
    collected: bool = False
    model: str = ""


class AnswerJournal:
    """Answers by the fingerprint of prompt, model and parameters, in a file of one JSON object a line.

    An answer is in the file before it is used, and a batch before and after it is created. Every line ends with a
    digest of itself. A last line that a killed run left unfinished is cut off.

    Parameters
    ----------
    path
        The file; made with its folder when it is not there. One process at a time may have it open.
    reserve_bytes
        Space kept free beside it for the answers that are under way when the disk becomes full.
    """

    def __init__(self, path: Path, reserve_bytes: int = 0) -> None:
        self.path = path
        self._reserve = path.with_name(f"{path.name}.reserve")
        self._reserve_bytes = reserve_bytes
        self._synced = time.monotonic()
        self._answers: dict[str, Answer] = {}
        self._submissions: dict[str, Submission] = {}
        self._shared = shared_journal_of(path)

    def __enter__(self) -> Self:
        try:
            with contextlib.ExitStack() as opened:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = opened.enter_context(self.path.open("a+b"))
                self._open()
                if self._reserve_bytes:
                    opened.callback(self._reserve.unlink, missing_ok=True)
                    self._reserve.write_bytes(bytes(self._reserve_bytes))
                opened.pop_all()
        except BlockingIOError:
            raise JournalError(f"another run is writing to {self.path}: wait for it") from None
        except OSError as error:
            raise self._cannot_write(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.fsync(self._file.fileno())
        try:
            if self._shared:
                self._shared.close()
        finally:
            self._file.close()
            self._reserve.unlink(missing_ok=True)

    def __len__(self) -> int:
        return len(self._answers)

    @classmethod
    def answers_in(cls, path: Path) -> dict[str, Answer]:
        """Return every answer by its key, here and in the bucket, also while others write; none where there is none."""
        journal = cls(path)
        try:
            with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
                journal._read(file)
            for part in journal._shared.elsewhere() if journal._shared else ():
                journal._read(part.splitlines(keepends=True))
        except OSError as error:
            raise JournalError(f"{path} cannot be read: {error.strerror}; put back the file it was") from error
        return journal._answers

    def find(self, key: str) -> Answer | None:
        """Return the answer recorded under ``key``, or None."""
        return self._answers.get(key)

    def record(self, key: str, answer: Answer) -> None:
        """Append ``answer``; it survives a kill of this process from here on.

        Raises
        ------
        JournalError
            It cannot be written. Where a full disk is the cause it is written into the space kept for it.
        """
        self._append({"key": key, **asdict(answer)}, sync=False)
        self._answers[key] = answer

    def note(self, submission: Submission) -> None:
        """Append what is known of a batch by now; it replaces what was known before."""
        self._append({"batch": asdict(submission)}, sync=True)
        self._submissions[submission.name] = submission
        if self._shared:
            self._shared.send_soon()

    def uncollected(self, keys: Collection[str], endpoint: str) -> list[Submission]:
        """Return the batches at ``endpoint`` that are not collected and hold one of ``keys``."""
        wanted = set(keys)
        there = [s for s in self._submissions.values() if s.endpoint == endpoint and not s.collected]
        return [submission for submission in there if not wanted.isdisjoint(submission.keys)]

    def _open(self) -> None:
        """Lock the file, take in what it holds, and see to it that a power cut leaves its name."""
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._file.seek(0)
        self._file.truncate(self._read(self._file))
        for part in self._shared.take_up(self._file) if self._shared else ():
            self._read(part.splitlines(keepends=True))
        flush(self.path.parent)

    def _append(self, entry: dict[str, Any], sync: bool) -> None:
        line = _sealed(entry)
        try:
            self._write(line, sync)
        except OSError as error:
            if error.errno in DISK_FULL and self._reserve.exists():
                self._reserve.unlink()
                self._append(entry, sync)
            raise self._cannot_write(error) from error

    def _write(self, line: bytes, sync: bool) -> None:
        """Write the whole line, or nothing of it."""
        file = self._file.fileno()
        end, written = os.fstat(file).st_size, 0
        try:
            while written < len(line):
                written += os.write(file, line[written:])
            if sync or time.monotonic() - self._synced > SECONDS_BETWEEN_SYNCS:
                os.fsync(file)
                self._synced = time.monotonic()
        except OSError:
            os.ftruncate(file, end)
            raise

    def _cannot_write(self, error: OSError) -> JournalError:
        error.filename = error.filename or str(self.path.resolve())
        reason = "its disk is full" if error.errno in DISK_FULL else error.strerror
        return JournalError(f"cannot write to the journal {self.path}: {reason}")

    def _read(self, lines: Iterable[bytes]) -> int:
        """Take in every complete line; return how many bytes they have."""
        complete = 0
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                break
            complete += len(line)
            try:
                self._take(_unsealed(line))
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                raise JournalError(
                    f"{self.path}: line {number} is damaged ({_problem(error)}); delete that line, its prompt will be "
                    f"asked again: sed -i {number}d {self.path}"
                ) from error
        return complete

    def _take(self, entry: dict[str, Any]) -> None:
        if "batch" in entry:
            batch = entry["batch"]
            submission = Submission(**(batch | {"keys": tuple(batch["keys"])}))
            self._submissions[submission.name] = submission
        else:
            key = entry.pop("key")
            if not isinstance(key, str):
                raise TypeError(key)
            self._answers[key] = Answer(**entry)


def _sealed(entry: dict[str, Any]) -> bytes:
    """Return the line of an entry, with a digest of its bytes as its last key."""
    text = json.dumps(entry, ensure_ascii=False).encode()
    return text[:-1] + _DIGEST + digest_of(text).encode() + b'"}\n'


def _unsealed(line: bytes) -> dict[str, Any]:
    """Return the entry in a line; raise ValueError when it is not what was written. Old lines have no digest."""
    body, mark, digest = line.rpartition(_DIGEST)
    text = body + b"}" if mark else line
    if mark and digest != digest_of(text).encode() + b'"}\n':
        raise ValueError("its digest is that of other text")
    entry: dict[str, Any] = json.loads(text)
    return entry


def _problem(error: Exception) -> str:
    """Return what is wrong in one line."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    if isinstance(error, ValueError | RecursionError):
        return str(error)
    return "it is no answer and no batch"
