"""Processes that a test starts: on free loopback ports, and all ended with it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
SECONDS_TO_END = 20


def make(target: str, **variables: object) -> list[str]:
    """Return the command of a Makefile's target in the environment that the tests run in, which is installed."""
    assignments = [f"{name}={value}" for name, value in {"BIN": BIN, **variables}.items()]
    return ["make", "--silent", "--old-file=.venv/.installed", target, *assignments]


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


@contextlib.contextmanager
def started(command: list[str], log: Path, **options: Any) -> Iterator[subprocess.Popen]:
    """Run ``command`` in a session of its own, from the repository's root; end every process of it on leaving."""
    with log.open("wb") as output:
        options = {"cwd": ROOT, "stdout": output, "stderr": subprocess.STDOUT, "start_new_session": True, **options}
        process = subprocess.Popen(command, **options)
    try:
        yield process
    finally:
        _end_session(process)


def _end_session(process: subprocess.Popen) -> None:
    deadline = time.monotonic() + SECONDS_TO_END
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        while running(process.pid) and time.monotonic() < deadline:
            process.poll()
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def running(group: int) -> list[int]:
    """Return the processes of a group that have not ended; one that nobody waited for yet has."""
    found = []
    for process in psutil.process_iter(["status"]):
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def wait_until(ready: Callable[[], bool], process: subprocess.Popen, log: Path, seconds: float = 180) -> None:
    """Return once ``ready``; raise RuntimeError with the log's end if the process ends or the time passes before."""
    deadline = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args} is not ready, exit status {process.poll()}:\n{log.read_text()[-3000:]}")
        time.sleep(0.25)


def answers(url: str) -> bool:
    """Whether a server answers ``url`` with success."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status == 200
    except OSError:
        return False
