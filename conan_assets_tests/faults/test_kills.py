"""Killed, out of disk: whatever happens to a run, the next one goes on from what is finished, to the same result."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
import yaml

from conan_assets_tests.defs.conftest import programme, run, small_disk, write_beir_folder  # noqa: F401
from conan_assets_tests.faults.conftest import Graph, leftovers, manifests, outcome
from conan_assets_tests.forked import kill
from conan_assets_tests.processes import BIN, ROOT

KILLS = 10
KILLS_PER_HOME = 2
SEED = 7
IN_PROCESS = json.dumps({"execution": {"config": {"in_process": {}}}})
BEFORE_THE_TEACHER = ("raw_corpus", "raw_pairs", "prompt_response_pairs", "training_pairs")
TEACHER = 'key:"teacher_scores/tiny"'
SECONDS_TO_REACH_A_STAGE = 120

pytestmark = pytest.mark.slow


def test_a_run_killed_at_any_moment_goes_on_to_the_same_result(graph: Graph, undisturbed: tuple[Path, float]):
    expected, seconds = outcome(undisturbed[0]), undisturbed[1]
    drawn, killed, number = random.Random(SEED), 0, 0
    while killed < KILLS:
        home = graph.folder / f"killed_{number}"
        number += 1
        finished: dict[str, dict] = {}
        for _ in range(KILLS_PER_HOME):
            process = graph.start(home)
            process.join(drawn.uniform(0.02, 0.9) * seconds)
            if process.is_alive():
                kill(process)
                killed += 1
            now = manifests(home)
            assert finished.items() <= now.items(), "something finished was made again"
            finished = now
        assert graph.finish(home) == 0, graph.error
        assert finished.items() <= manifests(home).items(), "something finished was made again"
        assert outcome(home) == expected
        assert leftovers(home) == []
        shutil.rmtree(home)


def test_a_full_disk_is_named_and_the_run_goes_on_when_there_is_space(
    graph: Graph,
    undisturbed: tuple[Path, float],
    small_disk: Path,  # noqa: F811
):
    home = small_disk / "home"
    assert graph.finish(home) == 1
    assert "the disk is full" in graph.error
    assert "free some space there, then run again" in graph.error
    finished = manifests(home)
    assert finished
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert graph.finish(home) == 0, graph.error
    assert finished.items() <= manifests(home).items(), "something finished was made again"
    assert outcome(home) == outcome(undisturbed[0])
    assert leftovers(home) == []


class Terminal:
    """A programme whose teacher is all that is left to do, and the command that a user gives."""

    def __init__(self, folder: Path, model: str) -> None:
        write_beir_folder(folder / "animals")
        self.home = folder / "home"
        self.settings = programme(folder / "animals", model, self.home)
        (folder / "profile.yaml").write_text(yaml.safe_dump(self.settings.model_dump(mode="json")))
        (folder / "dagster").mkdir()
        pools = "concurrency: {pools: {default_limit: 1}}\ntelemetry: {enabled: false}\n"
        (folder / "dagster" / "dagster.yaml").write_text(pools)
        places = {"CONAN_PROFILE": "profile.yaml", "CONAN_HOME": "home", "DAGSTER_HOME": "dagster"}
        self.environment = {**os.environ, **{name: str(folder / place) for name, place in places.items()}}

    def start(self, *options: str) -> subprocess.Popen:
        command = [str(BIN / "dagster"), "asset", "materialize", "-m", "conan_assets.definitions", "--select", TEACHER]
        return subprocess.Popen(
            [*command, *options],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def on_the_gpu(self) -> int | None:
        """The process that holds the place on the GPU."""
        for file in (self.home / "locks").glob("gpu_0@*"):
            told = file.read_text()
            if told.startswith("teacher_scores in process ") and psutil.pid_exists(int(told.split()[-1])):
                return int(told.split()[-1])
        return None


@pytest.fixture
def terminal(tmp_path: Path, tiny_model: str) -> Terminal:
    terminal = Terminal(tmp_path, tiny_model)
    assert run(terminal.settings, " or ".join(f'key:"{key}"' for key in BEFORE_THE_TEACHER)).success
    return terminal


@pytest.mark.parametrize("options", [("--config-json", IN_PROCESS), ()], ids=["in process", "a process per step"])
def test_after_a_kill_the_bare_command_goes_on_at_once(terminal: Terminal, options: tuple[str, ...]):
    with terminal.start(*options) as process:
        deadline = time.monotonic() + SECONDS_TO_REACH_A_STAGE
        while terminal.on_the_gpu() is None and time.monotonic() < deadline:
            assert process.poll() is None, process.stdout.read()
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not list((terminal.home / "assets" / "teacher_scores" / "tiny").glob("*/manifest.json"))
    with terminal.start(*options) as process:
        told, _ = process.communicate(timeout=SECONDS_TO_REACH_A_STAGE)
    assert process.returncode == 0, told
    assert "waits for the GPU" not in told
    assert list((terminal.home / "assets" / "teacher_scores" / "tiny").glob("*/manifest.json"))


def test_an_error_that_is_meant_for_the_user_ends_the_terminal_without_a_traceback(terminal: Terminal):
    (table,) = (terminal.home / "assets" / "raw_corpus").glob("*/table.parquet")
    table.write_bytes(table.read_bytes()[:-1])
    with terminal.start("--config-json", IN_PROCESS) as process:
        told, _ = process.communicate(timeout=SECONDS_TO_REACH_A_STAGE)
    assert process.returncode == 1
    assert "Traceback" not in told
    assert "Stack Trace" not in told
    last = told.strip().splitlines()[-3:]
    assert last[0].startswith(f"{table} is damaged")
    assert last[0].endswith("materialize raw_corpus again: it is set aside then and made anew")
