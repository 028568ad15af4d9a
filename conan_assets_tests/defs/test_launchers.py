"""Training under torchrun fails as it does in process: the same message, the same next attempt."""

import errno
import os
import re
from dataclasses import replace
from pathlib import Path

import dagster as dg
import httpx2
import pytest
import torch
from dagster._utils.error import SerializableErrorInfo
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from conan_assets.defs import limits
from conan_assets.defs.launchers import Launcher, TorchrunLauncher
from conan_assets.defs.limits import retried
from conan_assets.failures import is_transient
from conan_assets.files import full_disk_error, naming_a_full_disk
from conan_assets.training.config import TrainingConfig
from conan_assets.training.launch import LAUNCH, TrainingFailedError, failure_of, open_launch, telling_launcher
from conan_assets.training.settings import TrainingSettings
from conan_assets_tests.processes import free_port
from conan_assets_tests.training.samples import make_config, write_random_data

pytestmark = pytest.mark.slow

QUICK = TrainingSettings(
    epochs=4, retrieval_batch_size=2, negatives_per_query=2, learning_rate=1e-3, dtype="float32", save_every_minutes=0
)

OVERLOADED = httpx2.Response(503, request=httpx2.Request("GET", "http://localhost"))


def torchrun(processes: int) -> Launcher:
    return TorchrunLauncher(processes=processes, options=[])


def fail(launcher: Launcher, config: TrainingConfig) -> tuple[int, list[SerializableErrorInfo]]:
    """Return how many attempts an asset took that trains in vain, and its error with all causes."""
    tried = []

    @dg.asset
    @retried
    def checkpoint(context: dg.AssetExecutionContext) -> None:
        tried.append(context.retry_number)
        with naming_a_full_disk("checkpoint", config.directory):
            launcher.train(context, config)

    result = dg.materialize([checkpoint], raise_on_error=False)
    errors = [result.failure_data_for_node("checkpoint").error]
    while errors[-1].cause is not None:
        errors.append(errors[-1].cause)
    return len(tried), errors


def test_a_run_that_diverges_names_its_samples_as_it_does_in_process(
    tmp_path: Path, tiny_model: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    settings = replace(QUICK, learning_rate=1e30, max_gradient_norm=1e30)
    causes = []
    for name, launcher in {"in_process": Launcher(), "torchrun": torchrun(2)}.items():
        write_random_data(tmp_path / name / "data", samples=4)
        tried, errors = fail(launcher, make_config(tmp_path / name, tiny_model, settings))
        assert tried == 1
        causes.append((errors[-1].cls_name, errors[-1].message.split("\n")[0].rpartition("Error: ")[2]))
    assert [name for name, _ in causes] == ["TrainingDivergedError", "TrainingFailedError"]
    assert causes[0][1] == causes[1][1]
    assert re.search(r"the loss of stage 1, step \d is nan: sample s\d, sample s\d", causes[1][1])


def test_an_error_that_may_be_gone_at_the_next_attempt_is_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "MAX_RETRIES", 1)
    monkeypatch.setattr(limits, "SECONDS_BETWEEN_ATTEMPTS", 0)
    nobody = {"HF_ENDPOINT": f"http://127.0.0.1:{free_port()}", "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hub")}
    for name, value in nobody.items():
        monkeypatch.setenv(name, value)
    write_random_data(tmp_path / "data", samples=4)
    tried, errors = fail(torchrun(1), make_config(tmp_path, "org/model", QUICK))
    assert tried == 2
    assert any("the model 'org/model' is neither a folder nor on the hub" in error.message for error in errors)


def test_a_disk_that_is_full_is_named(small_disk: Path, tiny_model: str):
    write_random_data(small_disk / "data", samples=4)
    (small_disk / "others").write_bytes(bytes(900_000))
    tried, errors = fail(torchrun(1), make_config(small_disk, tiny_model, QUICK))
    assert tried == 1
    assert any("the disk is full: checkpoint could not be written" in error.message for error in errors)


def told(error: Exception, monkeypatch: pytest.MonkeyPatch) -> TrainingFailedError:
    """Return what a launcher raises for an error that ended its trainer."""
    with open_launch() as launch:
        monkeypatch.setenv(LAUNCH, str(launch))
        with pytest.raises(type(error)), telling_launcher():
            raise error
        return failure_of(launch, RuntimeError("exit status 1"))


@pytest.mark.parametrize(
    ("error", "transient", "full"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True, False),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), True, False),
        (HfHubHTTPError("overloaded", response=OVERLOADED), True, False),
        (LocalEntryNotFoundError("not cached"), False, False),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/state"), False, True),
        (ValueError("two\nlines"), False, False),
    ],
)
def test_the_launcher_raises_what_the_trainer_says_and_believes_whether_to_try_again(
    error: Exception, transient: bool, full: bool, monkeypatch: pytest.MonkeyPatch
):
    found = told(error, monkeypatch)
    assert str(found) == f"{type(error).__name__}: {error}"
    assert is_transient(found) == transient
    assert getattr(full_disk_error(found), "filename", None) == ("/data/state" if full else None)
    assert "telling_launcher" in found.__notes__[0], "the trainer's traceback"


def test_what_caused_an_error_decides_too(monkeypatch: pytest.MonkeyPatch):
    error = RuntimeError("not loaded")
    error.__cause__ = TimeoutError("slow")
    found = told(error, monkeypatch)
    assert is_transient(found)
    assert "TimeoutError: slow" in found.__notes__[0]


def test_only_the_first_error_is_told_for_others_follow_from_it(monkeypatch: pytest.MonkeyPatch):
    with open_launch() as launch:
        monkeypatch.setenv(LAUNCH, str(launch))
        for message in ("diverged", "connection closed by peer"):
            with pytest.raises(RuntimeError), telling_launcher():
                raise RuntimeError(message)
        assert str(failure_of(launch, RuntimeError())) == "RuntimeError: diverged"


def test_a_trainer_that_was_killed_is_told_from_one_that_failed():
    with open_launch() as launch:
        found = failure_of(launch, RuntimeError("exit code -9"))
    assert "ended before it could say why (exit code -9); if memory ran out" in str(found)
    assert not is_transient(found)
