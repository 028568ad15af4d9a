"""MLflow's server: its client's package has it, and what else it imports is installed beside."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from conan_assets_tests.processes import answers, free_port, started, wait_until

REQUIREMENTS = Path(__file__).with_suffix(".txt")


@contextlib.contextmanager
def running_mlflow(folder: Path) -> Iterator[str]:
    """Yield the address of a server whose database and files lie in ``folder``."""
    packages = folder / "packages"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target", packages]
    subprocess.run([*pip, "--requirement", REQUIREMENTS], check=True, timeout=300)
    url, log = f"http://127.0.0.1:{free_port()}", folder / "server.log"
    places = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")]
    address = ["--host", "127.0.0.1", "--port", url.rpartition(":")[2], "--workers", "1"]
    environment = {**os.environ, "PYTHONPATH": str(packages), "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-m", "mlflow", "server", *places, *address]
    with started(command, log, cwd=folder, env=environment) as process:
        wait_until(lambda: answers(f"{url}/health"), process, log)
        yield url
