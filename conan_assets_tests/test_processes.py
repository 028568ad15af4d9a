from pathlib import Path

import pytest

from conan_assets_tests.processes import running, started, wait_until

pytestmark = pytest.mark.slow


def test_every_process_of_a_command_ends_with_it(tmp_path: Path):
    log = tmp_path / "log"
    with started(["bash", "-c", "sleep 1000 & echo started; sleep 1000"], log) as process:
        wait_until(lambda: "started" in log.read_text(), process, log)
        assert len(running(process.pid)) >= 2
    assert running(process.pid) == []


def test_a_command_that_ends_too_early_is_reported_with_what_it_said(tmp_path: Path):
    log = tmp_path / "log"
    command = ["bash", "-c", "echo no such folder; exit 3"]
    with started(command, log) as process, pytest.raises(RuntimeError, match=r"exit status 3:\nno such folder"):
        wait_until(lambda: False, process, log)
