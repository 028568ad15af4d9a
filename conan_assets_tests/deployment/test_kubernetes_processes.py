"""The pods of deploy/kubernetes/ as processes: a head, a worker, and a run that joins them and gives them work."""

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from conan_assets_tests.deployment.kubernetes import (
    HEAD,
    SETTINGS,
    WORKERS,
    container_of,
    job_of_a_run,
    ray_start,
)
from conan_assets_tests.processes import BIN, free_port, started, wait_until

pytestmark = pytest.mark.slow

OF_THE_RUN, OF_THE_HEAD, OF_THE_WORKER = "127.0.0.1", "127.0.0.2", "127.0.0.3"
DASHBOARD = 8265
DRIVER = """
import json, ray
from conan_assets.compute.ray_cluster import RayCluster
results = list(RayCluster().map(abs, [-1, -2, -3]))
cores = {node["NodeManagerAddress"]: node["Resources"].get("CPU", 0) for node in ray.nodes()}
print(json.dumps([results, cores]))
"""


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """The environment of the pods; whatever Ray started in it is ended."""
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        token = {"RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_TMPDIR": folder}
        here = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "CONAN_"))}
        yield {**here, **SETTINGS["data"], **token, "PATH": f"{BIN}:{os.environ['PATH']}"}
        for process in psutil.process_iter(["cmdline"]):
            if any(folder in word for word in process.info["cmdline"] or []):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
                    process.wait(timeout=20)


def listens(host: str, port: int) -> bool:
    """Return whether a connection is taken, which is what the pods' probes ask."""
    with socket.socket() as connection:
        connection.settimeout(1)
        return connection.connect_ex((host, port)) == 0


@contextlib.contextmanager
def node(
    group: dict, host: str, port_option: str, folder: Path, environment: dict[str, str], **more: str
) -> Iterator[int]:
    """Run a pod of a group on a loopback address; yield the port that its probes ask, once they pass."""
    assert "tcpSocket" in container_of(group)["readinessProbe"]
    ports = {name: str(free_port()) for name in (port_option, "metrics_export_port", "dashboard_agent_listen_port")}
    command = ray_start(group, node_ip_address=host, object_store_memory=str(100 * 2**20), **ports, **more)
    log, port = folder / f"{host}.log", int(ports[port_option])
    with started(command, log, env=environment, cwd=folder) as process:
        wait_until(lambda: listens(host, port), process, log)
        yield port


def test_a_run_joins_the_clusters_nodes_and_they_do_its_work(environment: dict[str, str], tmp_path: Path):
    run = job_of_a_run(tmp_path, [sys.executable, "-c", DRIVER])["spec"]["template"]["spec"]["containers"][0]
    with node(HEAD, OF_THE_HEAD, "port", tmp_path, environment) as port:
        address = f"{OF_THE_HEAD}:{port}"
        worker = WORKERS["cpu"]
        with node(worker, OF_THE_WORKER, "node_manager_port", tmp_path, environment, address=address):
            assert not listens(OF_THE_HEAD, DASHBOARD)
            environment = {**environment, "RAY_ADDRESS": address}
            ended = subprocess.run(
                [*run["command"], *run["args"]],
                env=environment,
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=False,
            )
    assert ended.returncode == 0, ended.stderr[-3000:]
    results, cores = json.loads(ended.stdout.splitlines()[-1])
    assert results == [1, 2, 3]
    assert cores == {
        OF_THE_HEAD: 0,
        OF_THE_WORKER: int(container_of(worker)["resources"]["limits"]["cpu"]),
        OF_THE_RUN: 0,
    }
