"""What a launcher and the trainers it starts share: a folder for a lock, an error and where trainers find one another.

The trainers of ``torchrun`` are in sessions of their own: no signal that ends the launcher's process group ends them.
"""

import contextlib
import fcntl
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from conan_assets.failures import is_transient
from conan_assets.files import full_disk_error

LAUNCH = "CONAN_LAUNCH"
"""The environment variable that names the folder to the trainers."""
STORE = "CONAN_STORE"
"""The one that names the file by which the trainers of one machine find one another."""
ALIVE = "alive"
FAILURE = "failure.json"
PIPES_CONTEXT = "DAGSTER_PIPES_CONTEXT"

logger = logging.getLogger("conan_assets")


class TrainingFailedError(RuntimeError):
    """Training ended in a process that a launcher had started; the message is what ended it.

    Attributes
    ----------
    is_transient
        Whether the trainer holds another attempt to be of use.
    filename
        The file that a full disk had no room for, if that was the cause and it is known.
    was_killed
        Whether the trainer could not say why it ended.
    """

    def __init__(
        self, message: str, is_transient: bool = False, filename: str | None = None, was_killed: bool = False
    ) -> None:
        super().__init__(message)
        self.is_transient = is_transient
        self.filename = filename
        self.was_killed = was_killed

    def __reduce__(self) -> tuple[type["TrainingFailedError"], tuple[str, bool, str | None, bool]]:
        return type(self), (str(self), self.is_transient, self.filename, self.was_killed)


@contextlib.contextmanager
def open_launch() -> Iterator[Path]:
    """Yield a folder whose file stays locked until the launcher leaves, or is killed."""
    folder = tempfile.TemporaryDirectory(prefix="conan-launch-", ignore_cleanup_errors=True)
    with folder as path, (Path(path) / ALIVE).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield Path(path)


def on_one_machine(launch: Path) -> tuple[list[str], dict[str, str]]:
    """Return torchrun's options and the environment of trainers that open no port beyond this machine.

    torch's stores listen on all interfaces and unpickle what anybody sends: files of the launch take their place.
    """
    meeting = ["--rdzv-backend=c10d", "--rdzv-conf=store_type=file", f"--rdzv-endpoint={launch / 'rendezvous'}"]
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    sockets = {"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback}
    without_store = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    return [*meeting, f"--rdzv-id={launch.name}"], {STORE: str(launch / "store"), **sockets, **without_store}


def meeting_place() -> dict[str, Any]:
    """Return where the launcher lets this trainer meet the others, as arguments of ``init_process_group``."""
    if STORE not in os.environ:
        return {}
    ranks = {name.lower(): int(os.environ[name]) for name in ("RANK", "WORLD_SIZE")}
    return {"init_method": f"file://{os.environ[STORE]}", **ranks}


def end_with_launcher() -> None:
    """Let this process end at once when its launcher does, if it has one."""
    if LAUNCH in os.environ:
        threading.Thread(target=_wait_and_end, args=(Path(os.environ[LAUNCH]), os.getppid()), daemon=True).start()


def _wait_and_end(launch: Path, torchrun: int) -> None:
    with contextlib.suppress(FileNotFoundError), (launch / ALIVE).open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
    shutil.rmtree(launch, ignore_errors=True)
    logger.warning("the run that launched this trainer is gone, and so ends the trainer")
    if os.getppid() == torchrun:
        os.kill(torchrun, signal.SIGKILL)  # it would wait five minutes for the file that its trainers met in
    os._exit(1)


@contextlib.contextmanager
def telling_launcher() -> Iterator[None]:
    """Tell the launcher, if there is one, of the first error that leaves the body of one of its trainers."""
    try:
        yield
    except Exception as error:
        if LAUNCH in os.environ:
            full = full_disk_error(error)
            told = {
                "message": f"{type(error).__name__}: {error}{'' if full in (None, error) else f' ({full})'}",
                "is_transient": is_transient(error),
                "filename": getattr(full, "filename", None),
                "traceback": "".join(traceback.format_exception(error)),
            }
            with contextlib.suppress(OSError), (Path(os.environ[LAUNCH]) / FAILURE).open("x") as file:
                json.dump(told, file, default=str)
        raise


def failure_of(launch: Path, ended: Exception) -> TrainingFailedError:
    """Return the error that the first failing trainer told of, or that ``ended`` the trainers without a word."""
    try:
        told = json.loads((launch / FAILURE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return TrainingFailedError(
            f"a trainer ended before it could say why ({ended}); if memory ran out and the system killed it, lower "
            "tokens_in_memory or tokens_per_mini_batch",
            was_killed=True,
        )
    note = told.pop("traceback")
    error = TrainingFailedError(**told)
    error.add_note(f"In the trainer:\n{note}")
    return error


@contextlib.contextmanager
def report_to_dagster() -> Iterator[Callable[[Mapping[str, object]], None]]:
    """Send the first process's log lines to the Dagster run that launched it through Pipes, if one did.

    Yields what sends that run a message of its own, which ``get_custom_messages()`` returns there.
    """
    if PIPES_CONTEXT not in os.environ or os.environ.get("RANK", "0") != "0":
        yield lambda _: None
        return
    from dagster_pipes import open_dagster_pipes

    with open_dagster_pipes() as pipes:
        handlers = list(pipes.log.handlers)
        for handler in handlers:
            logger.addHandler(handler)
        try:
            yield pipes.report_custom_message
        finally:
            for handler in handlers:
                logger.removeHandler(handler)
