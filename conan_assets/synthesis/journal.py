"""Every answer an endpoint ever gave, on disk: append-only, so that no answer is paid for twice."""

import fcntl
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self


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


class Journal:
    """Answers by the fingerprint of prompt, model and parameters, in a file of one JSON object a line.

    An answer is in the file before it is used. A last line that a killed run left unfinished is cut off.

    Parameters
    ----------
    path
        The file; made with its folder when it is not there. One process at a time may have it open.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._answers: dict[str, Answer] = {}

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._read()
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

    def find(self, key: str) -> Answer | None:
        """Return the answer recorded under ``key``, or None."""
        return self._answers.get(key)

    def record(self, key: str, answer: Answer) -> None:
        """Append ``answer``; it survives a kill of this process from here on."""
        line = json.dumps({"key": key, **asdict(answer)}, ensure_ascii=False) + "\n"
        os.write(self._file.fileno(), line.encode())
        self._answers[key] = answer

    def _read(self) -> None:
        self._file.seek(0)
        complete = 0
        for number, line in enumerate(self._file, start=1):
            if not line.endswith(b"\n"):
                break
            complete += len(line)
            try:
                entry = json.loads(line)
                key = entry.pop("key")
                self._answers[key] = Answer(**entry)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise JournalError(
                    f"{self.path}: line {number} is damaged ({error}); remove that line, its prompt will be asked again"
                ) from error
        self._file.truncate(complete)
