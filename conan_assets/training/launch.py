"""What a launcher and the trainers it starts share: a file, locked while the launcher lives, that takes their errors.

The trainers of ``torchrun`` are in sessions of their own: no signal that ends the launcher's process group ends them.
"""

import contextlib
import fcntl
import json
import logging
import os
import tempfile
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LAUNCH = "CONAN_LAUNCH"
"""The environment variable that names the file to the trainers."""

logger = logging.getLogger("conan_assets")


@contextlib.contextmanager
def open_launch() -> Iterator[Path]:
    """Yield a file that stays locked until the launcher leaves, or is killed."""
    with tempfile.NamedTemporaryFile(prefix="conan-launch-") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield Path(file.name)


def end_with_launcher() -> None:
    """Let this process end at once when its launcher does, if it has one."""
    if LAUNCH in os.environ:
        threading.Thread(target=_wait_and_end, args=(Path(os.environ[LAUNCH]),), daemon=True).start()


def _wait_and_end(launch: Path) -> None:
    with contextlib.suppress(FileNotFoundError), launch.open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
    launch.unlink(missing_ok=True)
    logger.warning("the run that launched this trainer is gone, and so ends the trainer")
    os._exit(1)


@contextlib.contextmanager
def telling_launcher() -> Iterator[None]:
    """Tell the launcher, if there is one, of an error that leaves the body."""
    try:
        yield
    except Exception as error:
        if LAUNCH in os.environ:
            with contextlib.suppress(OSError), open(os.environ[LAUNCH], "a", encoding="utf-8") as file:
                file.write(json.dumps(_describe(error)) + "\n")
        raise


def read_failure(launch: Path) -> Exception | None:
    """Return the first error that a trainer told, None if it was killed before it could.

    It has the message, the causes and the errno or HTTP status of the trainer's, types of the same names, whose modules
    need not be here, and the trainer's traceback as a note.
    """
    line, *_ = launch.read_text(encoding="utf-8").split("\n")
    return _rebuild(json.loads(line)) if line else None


def _describe(error: BaseException) -> list[dict[str, Any]]:
    """Return what tells ``error`` and each error behind it apart."""
    links = []
    behind: BaseException | None = error
    while behind is not None:
        kinds = [kind for kind in type(behind).__mro__ if issubclass(kind, Exception) and kind is not Exception]
        system = behind if isinstance(behind, OSError) and behind.errno is not None else None
        named = [system.errno, system.strerror, system.filename and str(system.filename)] if system else None
        response = getattr(behind, "response", None)
        links.append(
            {
                "types": [(kind.__module__, kind.__name__) for kind in kinds],
                "arguments": named or [str(behind)],
                "status_code": getattr(behind, "status_code", getattr(response, "status_code", None)),
                "has_cause": behind.__cause__ is not None,
                "hides_context": behind.__suppress_context__,
                "traceback": "".join(traceback.format_tb(behind.__traceback__)),
            }
        )
        behind = behind.__cause__ or behind.__context__
    return links


def _rebuild(links: list[dict[str, Any]]) -> Exception | None:
    error: Exception | None = None
    for link in reversed(links):
        kind: type[Exception] = Exception if len(link["arguments"]) == 1 else OSError
        for module, name in reversed(link["types"]):
            kind = type(name, (kind,), {"__module__": module, "status_code": link["status_code"]})
        behind, error = error, kind(*link["arguments"])
        error.__cause__ = behind if link["has_cause"] else None
        error.__context__ = behind
        error.__suppress_context__ = link["hides_context"]
        error.add_note(f"In the trainer:\n{link['traceback']}")
    return error
