"""A server that speaks S3 on a loopback port, in a process of its own, and a proxy before it that can be cut."""

import contextlib
import socket
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conan_assets.bucket import objects
from conan_assets_tests.processes import free_port, started, wait_until

BUCKET = "programmes"
SECRET = "a-secret-of-the-tests"


class Proxy:
    """A loopback port before another one; what is cut stays cut until it is mended, and a header may be hidden."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._pairs: list[socket.socket] = []
        self._left: int | None = None
        self._counts = threading.Lock()
        self.hides = b""
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self, after_bytes: int = 0) -> None:
        """End every connection, now or when so many bytes more were sent to the server, and refuse new ones."""
        self._left = after_bytes
        if not after_bytes:
            self._end()

    def mend(self) -> None:
        """Let connections through again."""
        self._left = None

    def close(self) -> None:
        self._server.close()
        self._end()

    @property
    def is_cut(self) -> bool:
        return self._left == 0

    def _end(self) -> None:
        for connection in self._pairs:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._pairs = []

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            if self.is_cut:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._port))
            self._pairs += [client, server]
            threading.Thread(target=self._pump, args=(client, server, True), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, False), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, is_counted: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if is_counted:
                    data = self._allowed(data)
                if self.hides:
                    data = data.replace(self.hides, b"x" * len(self.hides))
                target.sendall(data)
                if self.is_cut:
                    self._end()
                    break
        for connection in (source, target):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _allowed(self, data: bytes) -> bytes:
        """Return what may still go to the server, by whichever connection."""
        with self._counts:
            if self._left is None:
                return data
            allowed = data[: self._left]
            self._left -= len(allowed)
            return allowed


@pytest.fixture(scope="session")
def s3_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Return the port of a server that keeps its buckets in memory."""
    port, log = free_port(), tmp_path_factory.mktemp("s3") / "log"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with started(command, log) as process:
        wait_until(lambda: _listens(port), process, log)
        yield port


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def ask(port: int, method: str, path: str, body: bytes | None = None) -> bytes:
    """Send a request to the server and return its answer."""
    plain = {"Content-Type": "text/plain"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", body, plain, method=method)
    with urllib.request.urlopen(request, timeout=30) as response:
        return response.read()


@pytest.fixture
def proxy(s3_port: int) -> Iterator[Proxy]:
    """Return a way to the server that can be cut."""
    proxy = Proxy(s3_port)
    yield proxy
    proxy.close()


@pytest.fixture
def address(s3_port: int, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the address of an empty home; the environment says how to get there, and gives up soon."""
    ask(s3_port, "POST", "moto-api/reset")
    ask(s3_port, "PUT", BUCKET)
    for name, value in environment(proxy.port).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(objects, "SECONDS_TO_RETRY", 2)
    return f"s3://{BUCKET}/home"


def environment(port: int) -> dict[str, str]:
    """Return how a process gets to the server on a port."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Return what makes this process another machine: with a cache of its own for working copies."""

    def become(name: str) -> Path:
        monkeypatch.setenv("CONAN_CACHE", str(tmp_path / name))
        return tmp_path / name

    become("first")
    return become
