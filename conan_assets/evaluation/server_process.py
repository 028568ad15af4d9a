"""The server of embeddings of a profile: one that runs, or one that is started for as long as it is asked."""

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from conan_assets.evaluation.server import LOG_SHOWN, Server, ServerError
from conan_assets.evaluation.settings import ServerSettings

SECONDS_BETWEEN_LOOKS = 0.5
SECONDS_TO_END = 20.0


@contextlib.contextmanager
def running_server(settings: ServerSettings, folder: Path, prompts: Mapping[str, str]) -> Iterator[Server]:
    """Yield the server of the settings; one with a ``command`` is started on ``folder`` and ended again.

    Raises
    ------
    ServerError
        It does not answer: it is not there, its command cannot be run, ended, or took too long.
    """
    if settings.command is None:
        yield Server(settings, settings.base_url, prompts)
        return
    port = _free_port()
    command = [part.format(model=folder, port=port) for part in shlex.split(settings.command)]
    server = Server(settings, settings.base_url.format(port=port), prompts)
    with tempfile.TemporaryFile("w+b") as log:
        try:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        except OSError as error:
            raise ServerError(f"release.server.command cannot be run: {error}") from error
        try:
            with contextlib.suppress(TimeoutError):
                _wait(server, process, settings.start_seconds)
            if not server.answers():
                log.seek(0)
                said = log.read().decode(errors="replace")[-LOG_SHOWN:]
                ended = process.poll()
                what = f"took more than {settings.start_seconds:g} s" if ended is None else f"ended with status {ended}"
                raise ServerError(f"{shlex.join(command)} {what} before it answered at {server.url}; it said:\n{said}")
            yield server
        finally:
            _end(process)


def _wait(server: Server, process: "subprocess.Popen[bytes]", seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while process.poll() is None and not server.answers():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a server and what it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(SECONDS_TO_END)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
