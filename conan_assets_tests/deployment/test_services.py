"""The services of deploy/compose.yaml as processes, on the same dagster.yaml and a real PostgreSQL."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import psycopg2
import pytest
import yaml
from dagster import DagsterRunStatus
from dagster_graphql import DagsterGraphQLClient

from conan_assets_tests.defs.conftest import programme, write_beir_folder
from conan_assets_tests.deployment.compose import DEPLOY, load_compose
from conan_assets_tests.deployment.postgres import PROGRAMS, postgres
from conan_assets_tests.processes import BIN, free_port, started, wait_until

pytestmark = pytest.mark.slow

ASSETS = ["raw_corpus", "raw_pairs", "prompt_response_pairs", "training_pairs"]
ENDED = {DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED}


class Services:
    """The compose file's services with the image's folders and ports moved to where a test may have them."""

    def __init__(self, folder: Path, variables: dict[str, str]):
        self.folder = folder
        self.compose = load_compose(variables)
        self.ports = {"code": free_port(), "webserver": free_port()}
        self.moved = {"/opt/dagster": str(folder), "/var/lib/conan": str(folder), "0.0.0.0": "127.0.0.1"}
        self.moved |= {"4000": str(self.ports["code"]), "3000": str(self.ports["webserver"])}
        image = {"DAGSTER_HOME": str(folder), "CONAN_HOME": str(folder / "home"), "CONAN_LOGS": str(folder / "logs")}
        here = {"PATH": f"{BIN}:{os.environ['PATH']}", "CONAN_CODE_HOST": "127.0.0.1"}
        self.replaced = {**image, **here, "CONAN_CODE_PORT": str(self.ports["code"]), **variables}

    @contextlib.contextmanager
    def run(self, name: str) -> Iterator[subprocess.Popen]:
        """Run a service's command; yield its process once its health check passes."""
        service, log = self.compose["services"][name], self.folder / f"{name}.log"
        given = {key: value for key, value in service["environment"].items() if value is not None}
        environment = {**os.environ, **given, **self.replaced}
        with started(self._here(service["command"]), log, env=environment, cwd=self.folder) as process:
            check = self._here(service["healthcheck"]["test"][1:])
            wait_until(lambda: self._passes(check, environment), process, log)
            yield process

    def _here(self, command: list[str]) -> list[str]:
        for there, here in self.moved.items():
            command = [word.replace(there, here) for word in command]
        return command

    def _passes(self, check: list[str], environment: dict[str, str]) -> bool:
        return subprocess.run(check, env=environment, capture_output=True, cwd=self.folder, check=False).returncode == 0


@pytest.fixture
def profile(tmp_path: Path, tiny_model: str) -> Path:
    """A tiny programme's profile beside its data and the instance's files."""
    write_beir_folder(tmp_path / "animals")
    settings = programme(tmp_path / "animals", tiny_model, tmp_path / "home")
    path = tmp_path / "profile.yaml"
    path.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(DEPLOY / name, tmp_path)
    return path


@pytest.mark.skipif(PROGRAMS is None, reason="PostgreSQL is not installed (Debian's package postgresql)")
def test_the_services_run_the_graph_and_a_run_that_is_killed_with_the_code_server_blocks_nothing(profile: Path):
    with postgres() as database:
        services = Services(profile.parent, {**database, "CONAN_PROFILE": str(profile)})
        with services.run("code") as code, services.run("webserver"), services.run("daemon"):
            client = DagsterGraphQLClient("127.0.0.1", port_number=services.ports["webserver"])
            killed, waiting = launch(client), launch(client, ASSETS)
            assert status_of(client, killed, {DagsterRunStatus.STARTED}) == DagsterRunStatus.STARTED
            os.killpg(code.pid, signal.SIGKILL)
            code.wait()
            with services.run("code"):
                status = status_of(client, waiting, ENDED)
            assert status == DagsterRunStatus.SUCCESS, (profile.parent / "code.log").read_text()[-3000:]
            assert client.get_run_status(killed) == DagsterRunStatus.FAILURE
        assert events(database, waiting, "ASSET_MATERIALIZATION") == sorted(f'["{asset}"]' for asset in ASSETS)
        assert events(database, waiting, "PIPELINE_SUCCESS") == [None]
    assert not list(profile.parent.glob("**/*.db")), "nothing is kept in SQLite"


def launch(client: DagsterGraphQLClient, assets: list[str] | None = None) -> str:
    """Launch a run of some assets, or all of them, through the webserver; return its id."""
    run_config = {"execution": {"config": {"in_process": {}}}}
    return client.submit_job_execution("train_job", run_config=run_config, asset_selection=assets)


def status_of(
    client: DagsterGraphQLClient, run_id: str, awaited: Collection[DagsterRunStatus], seconds: float = 300
) -> DagsterRunStatus:
    """Return a run's status once it is one of ``awaited``, or when the time has passed."""
    deadline = time.monotonic() + seconds
    while (status := client.get_run_status(run_id)) not in awaited and time.monotonic() < deadline:
        time.sleep(0.2)
    return status


def events(database: dict[str, str], run_id: str, kind: str) -> list[str | None]:
    """Read the asset keys of a run's events of one kind straight from the database."""
    names = {"HOST": "host", "PORT": "port", "USER": "user", "PASSWORD": "password", "DB": "dbname"}
    connection = psycopg2.connect(**{word: database[f"CONAN_POSTGRES_{name}"] for name, word in names.items()})
    with contextlib.closing(connection), connection.cursor() as cursor:
        query = "select asset_key from event_logs where run_id = %s and dagster_event_type = %s order by asset_key"
        cursor.execute(query, (run_id, kind))
        return [row[0] for row in cursor.fetchall()]
