"""The last thirty lines that a newcomer reads when `make demo` ends, whatever ended it."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from conan_assets_tests.defs.conftest import LEARNS, programme, write_beir_folder
from conan_assets_tests.processes import ROOT, make

pytestmark = pytest.mark.slow

LINES = 30
SECONDS_TO_RUN = 300
NOISE = ("Traceback", "Stack Trace", "Warning", "dagster._core")


class Demo:
    """A tiny programme of one round on which `make demo` is called again and again."""

    def __init__(self, folder: Path, model: str) -> None:
        write_beir_folder(folder / "animals")
        self.home, self.profile = folder / "home", folder / "profile.yaml"
        small: dict[str, Any] = {"rounds": 1, "generation": {"kind": "none"}, "teachers": {}, "mining": {"veto": []}}
        self.values = programme(folder / "animals", model, self.home, **small).model_dump(mode="json")
        places = {"PROFILE": "profile.yaml", "CONAN_HOME": "home", "DAGSTER_HOME": "dagster"}
        self.environment = {**os.environ, **{name: str(folder / place) for name, place in places.items()}}
        self.write()

    def write(self, **training: Any) -> None:
        """Write the profile with other settings of training."""
        values = {**self.values, "training": [{**self.values["training"][0], **training}]}
        self.profile.write_text(yaml.safe_dump(values))

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            make("demo"),
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def end(self, process: subprocess.Popen[str]) -> str:
        """Return the last lines that a started call prints."""
        told, _ = process.communicate(timeout=SECONDS_TO_RUN)
        last = "\n".join(told.strip().splitlines()[-LINES:])
        assert not [noise for noise in NOISE if noise in last], told
        return last

    def wait_for(self, key: str) -> None:
        """Return when an asset is being built."""
        deadline = time.monotonic() + SECONDS_TO_RUN
        while not list((self.home / "assets" / key).glob("*.partial")):
            assert time.monotonic() < deadline, f"{key} is not being built"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> Demo:
    return Demo(tmp_path_factory.mktemp("terminal"), tiny_model)


def test_after_ctrl_c_it_says_what_is_kept_and_how_to_go_on(demo: Demo):
    with demo.start() as process:
        demo.wait_for("round_1/checkpoint")
        os.killpg(process.pid, signal.SIGINT)
        last = demo.end(process)
    assert process.returncode != 0
    assert "Interrupted: what is finished is kept" in last
    assert "the same command goes on from there" in last


def test_after_a_kill_the_same_command_goes_on_and_a_base_model_that_is_released_is_called_that(demo: Demo):
    with demo.start() as process:
        demo.wait_for("round_1/beir_report")
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    with demo.start() as process:
        last = demo.end(process)
    assert process.returncode == 0, last
    assert "No round was better than the base model: the base model is released as it is." in last
    assert "What to try: " in last
    assert f"Released model: {demo.home}/released_model" in last
    assert last.splitlines()[-1] == f"The graph:      make ui PROFILE={demo.profile} CONAN_HOME={demo.home}"


def test_success_ends_with_the_round_its_gain_and_where_to_look(demo: Demo):
    demo.write(**LEARNS)
    with demo.start() as process:
        last = demo.end(process)
    assert process.returncode == 0, last
    assert "**Best: round 1**, the highest ndcg_at_10 on suite animals, split dev: " in last
    assert "Gain over the base model: dev +" in last
    assert "python -m conan_assets look 1" in last


def test_a_mistake_in_the_profile_is_all_that_stands_there(demo: Demo):
    demo.write(learning_rat=1e-3)
    with demo.start() as process:
        last = demo.end(process)
    assert process.returncode != 0
    assert "learning_rat: unknown key; accepted here" in last
    assert len(last.splitlines()) <= 5
    assert last.splitlines()[-1].startswith("make: *** ")
