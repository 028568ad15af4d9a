"""The miniature programme run to its end again and again under faults, in processes of their own, and what came out."""

import json
import os
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import dagster as dg
import pytest

from conan_assets.artifacts import fingerprint_file
from conan_assets.definitions import build_defs
from conan_assets.settings import Settings
from conan_assets_tests.defs.conftest import programme, write_beir_folder
from conan_assets_tests.forked import fork

SECONDS_FOR_A_RUN = 300


def materialize(settings: Settings) -> None:
    job = build_defs(settings).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        job.execute_in_process(instance=instance)


class Graph:
    """The miniature programme, run again and again in processes of their own."""

    def __init__(self, folder: Path, model: str) -> None:
        write_beir_folder(folder / "animals")
        self.folder = folder
        self.model = model
        self.log = folder / "log"

    def settings(self, home: Path) -> Settings:
        return programme(self.folder / "animals", self.model, home)

    def start(self, home: Path) -> ForkServerProcess:
        return fork(self.log, materialize, self.settings(home))

    def finish(self, home: Path) -> int:
        process = self.start(home)
        process.join(SECONDS_FOR_A_RUN)
        assert process.exitcode is not None, "the run hangs"
        return process.exitcode

    @property
    def error(self) -> str:
        return self.log.read_text()


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> Graph:
    folder = tmp_path_factory.mktemp("faults")
    fork(folder / "log", os.getpid).join()  # what the server imports first would count as a run's time
    return Graph(folder, tiny_model)


@pytest.fixture(scope="module")
def undisturbed(graph: Graph) -> tuple[Path, float]:
    """The home of a run that nothing happened to, and how many seconds such a run takes."""
    home, started = graph.folder / "undisturbed", time.monotonic()
    assert graph.finish(home) == 0, graph.error
    return home, time.monotonic() - started


def manifests(home: Path) -> dict[str, dict]:
    """What is finished, by its directory below the home."""
    found = (home / "assets").rglob("manifest.json")
    done = [path for path in found if ".partial" not in str(path)]
    return {str(path.parent.relative_to(home)): json.loads(path.read_text()) for path in done}


def outcome(home: Path) -> dict[str, object]:
    """What must be the same however often a run was killed: data versions, weights, scores."""
    rows = json.loads((home / "leaderboard.json").read_text())
    current = {str(path.relative_to(home).parent): path.read_text() for path in (home / "assets").rglob("current")}
    return {
        "current": current,
        "content": {name: manifest["content"] for name, manifest in manifests(home).items()},
        "weights": {
            name.rpartition("/")[0]: fingerprint_file(home / name / "model" / "model.safetensors")
            for name in manifests(home)
            if name.startswith("assets/round_") and "checkpoint" in name
        },
        "scores": [(row["round"], row["model"], row["metric"], row["split"], row["value"]) for row in rows],
        "release": (home / "released_model").resolve().name,
    }


def leftovers(home: Path) -> list[Path]:
    hidden = [path for path in home.rglob(".*") if path.name != ".lock"]
    return [*hidden, *home.rglob("*.partial")]
