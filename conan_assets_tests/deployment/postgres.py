"""A real PostgreSQL in a temporary folder, from Debian's package."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from conan_assets_tests.processes import free_port, started, wait_until

PROGRAMS = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
USER = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
PASSWORD = "p@ss:w/rd %41"


@contextlib.contextmanager
def postgres() -> Iterator[dict[str, str]]:
    """Run a server on a free loopback port; yield the variables by which deploy/dagster.yaml finds it."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        (folder / "password").write_text(PASSWORD)
        if USER:
            for path in (folder, folder / "password"):
                shutil.chown(path, USER)
        data, log = folder / "data", folder / "postgres.log"
        initdb = ["initdb", "--username=dagster", "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync"]
        _run([*initdb, f"--pwfile={folder / 'password'}", f"--pgdata={data}"], folder)
        places = ["-D", data, "-p", port, "-h", "127.0.0.1", "-k", folder, "-F"]
        with started([str(PROGRAMS / "postgres"), *map(str, places)], log, cwd=folder, user=USER) as server:
            wait_until(
                lambda: _run(["pg_isready", "-h", "127.0.0.1", "-p", str(port)], folder, check=False), server, log
            )
            yield {
                "CONAN_POSTGRES_HOST": "127.0.0.1",
                "CONAN_POSTGRES_PORT": str(port),
                "CONAN_POSTGRES_USER": "dagster",
                "CONAN_POSTGRES_PASSWORD": PASSWORD,
                "CONAN_POSTGRES_DB": "postgres",
            }


def _run(command: list[str], folder: Path, check: bool = True) -> bool:
    program = str(PROGRAMS / command[0])
    result = subprocess.run([program, *command[1:]], cwd=folder, user=USER, capture_output=True, text=True, check=False)
    assert result.returncode == 0 or not check, result.stderr
    return result.returncode == 0
