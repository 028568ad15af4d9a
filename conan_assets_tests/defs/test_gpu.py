"""A stage waits for the GPU and says for what; whoever holds it gives it back by ending, however it ends."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from conan_assets.defs.gpu import on_the_gpu, place_on_the_gpu
from conan_assets.defs.storage import Storage

HOLD = """
import sys, time
from pathlib import Path
from conan_assets.defs.gpu import place_on_the_gpu
with place_on_the_gpu(Path(sys.argv[1]), 1, "checkpoint"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen]:
    """A process that computes on the GPU of a home."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "home" / "locks")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@dg.asset
@on_the_gpu
def teacher_scores(storage: Storage) -> None:
    pass


def test_a_stage_says_once_whom_it_waits_for_and_goes_on_when_that_one_is_killed(
    tmp_path: Path, holder: subprocess.Popen, caplog: pytest.LogCaptureFixture
):
    def kill_it_later() -> None:
        time.sleep(2)
        os.kill(holder.pid, signal.SIGKILL)

    threading.Thread(target=kill_it_later, daemon=True).start()
    with caplog.at_level(logging.WARNING, "conan_assets"):
        storage = Storage(home=str(tmp_path / "home"))
        assert dg.materialize([teacher_scores], resources={"storage": storage}).success
    (told,) = [message for message in caplog.messages if "waits for the GPU" in message]
    assert f"until checkpoint in process {holder.pid} has ended" in told
    assert "`kill` with that number ends it at once" in told


def test_two_places_hold_two_stages(tmp_path: Path, holder: subprocess.Popen, caplog: pytest.LogCaptureFixture):
    with place_on_the_gpu(tmp_path / "home" / "locks", 2, "hard_negatives"):
        assert not caplog.messages
