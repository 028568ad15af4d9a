"""Every answer an endpoint ever gave, on disk: append-only, so that no answer is paid for twice."""

import fcntl
import json
import os
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

JOURNAL = "answers.jsonl"
"""Name of the journal's file in its folder."""


class JournalError(RuntimeError):
    """The journal is damaged or in use by another run."""


@dataclass(frozen=True)
class Answer:
    """What an endpoint answered to one prompt."""

    content: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    refusal: str | None = None


@dataclass(frozen=True)
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
    """

    name: str
    endpoint: str
    keys: tuple[str, ...]
    batch_id: str | None = None
    collected: bool = False


class AnswerJournal:
    """Answers by the fingerprint of prompt, model and parameters, in a file of one JSON object a line.

    An answer is in the file before it is used, and a batch before and after it is created. A last line that a killed
    run left unfinished is cut off.

    Parameters
    ----------
    path
        The file; made with its folder when it is not there. One process at a time may have it open.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._answers: dict[str, Answer] = {}
        self._submissions: dict[str, Submission] = {}

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file.seek(0)
            self._file.truncate(self._read(self._file))
        except BlockingIOError:
            self._file.close()
            raise JournalError(f"another run is writing to {self.path}: wait for it") from None
        except JournalError:
            self._file.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._answers)

    @classmethod
    def answers_in(cls, path: Path) -> dict[str, Answer]:
        """Return every answer by its key, also while another run writes; none where there is no file yet."""
        journal = cls(path)
        if path.exists():
            with path.open("rb") as file:
                journal._read(file)
        return journal._answers

    def find(self, key: str) -> Answer | None:
        """Return the answer recorded under ``key``, or None."""
        return self._answers.get(key)

    def record(self, key: str, answer: Answer) -> None:
        """Append ``answer``; it survives a kill of this process from here on."""
        self._append({"key": key, **asdict(answer)})
        self._answers[key] = answer

    def note(self, submission: Submission) -> None:
        """Append what is known of a batch by now; it replaces what was known before."""
        self._append({"batch": asdict(submission)})
        self._submissions[submission.name] = submission

    def uncollected(self, keys: Collection[str], endpoint: str) -> list[Submission]:
        """Return the batches at ``endpoint`` that are not collected and hold one of ``keys``."""
        wanted = set(keys)
        there = [s for s in self._submissions.values() if s.endpoint == endpoint and not s.collected]
        return [submission for submission in there if not wanted.isdisjoint(submission.keys)]

    def _append(self, entry: dict[str, Any]) -> None:
        line = (json.dumps(entry, ensure_ascii=False) + "\n").encode()
        while line:
            line = line[os.write(self._file.fileno(), line) :]

    def _read(self, lines: Iterable[bytes]) -> int:
        """Take in every complete line; return how many bytes they have."""
        complete = 0
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                break
            complete += len(line)
            try:
                self._take(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise JournalError(
                    f"{self.path}: line {number} is damaged ({error}); remove that line, its prompt will be asked again"
                ) from error
        return complete

    def _take(self, entry: dict[str, Any]) -> None:
        if "batch" in entry:
            batch = entry["batch"]
            self._submissions[batch["name"]] = Submission(**(batch | {"keys": tuple(batch["keys"])}))
        else:
            key = entry.pop("key")
            self._answers[key] = Answer(**entry)
