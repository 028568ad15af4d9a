import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from conan_assets.training.config import write_config
from conan_assets.training.metrics import METRICS, read_metrics
from conan_assets.training.run import train
from conan_assets.training.settings import TrainingSettings
from conan_assets.training.state import StateError
from conan_assets.training.trainer import TrainingDivergedError
from conan_assets_tests.training.samples import make_config, write_random_data

QUICK = TrainingSettings(
    epochs=4, retrieval_batch_size=6, sts_batch_size=6, negatives_per_query=2, learning_rate=1e-3, temperature=0.1
)
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def weights_of(directory: Path) -> dict[str, torch.Tensor]:
    return load_file(directory / "model" / "model.safetensors")


def test_training_lowers_both_losses_and_saves_a_sentence_transformers_model(tmp_path: Path, tiny_model: str):
    write_random_data(tmp_path / "data", sts=30)
    report = train(make_config(tmp_path, tiny_model, replace(QUICK, epochs=30)))
    records = read_metrics(tmp_path)
    assert [record["step"] for record in records] == list(range(1, 121))
    for loss in ("loss", "info_nce", "cosent"):
        values = [record[loss] for record in records]
        assert np.mean(values[-12:]) < 0.8 * np.mean(values[:12])
    assert report["steps"] == 120
    assert report["samples_per_second"] > 0
    assert not (tmp_path / "state").exists()

    model = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    assert next(model.parameters()).dtype == torch.float32
    before = SentenceTransformer(tiny_model, device="cpu").encode("abcd efgh")
    assert np.abs(model.encode("abcd efgh") - before).max() > 1e-3


def test_a_finished_run_is_not_repeated(tmp_path: Path, tiny_model: str):
    write_random_data(tmp_path / "data")
    config = make_config(tmp_path, tiny_model, replace(QUICK, max_steps=2))
    first = train(config)
    stamp = (tmp_path / "model" / "model.safetensors").stat().st_mtime_ns
    assert train(config) == first
    assert (tmp_path / "model" / "model.safetensors").stat().st_mtime_ns == stamp


def start(directory: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "conan_assets.training", str(directory / "config.json")]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def kill_at(directory: Path, lines: int) -> None:
    """Start the run and kill -9 it once it has written that many lines of metrics."""
    process = start(directory)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None and len(read_metrics(directory)) < lines:
        time.sleep(0.005)
    assert process.poll() is None, "the run ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_killed_run_goes_on_to_bitwise_the_same_weights(tmp_path: Path, tiny_model: str):
    stages = (replace(QUICK, epochs=40, save_every_steps=7, losses={"info_nce": 1.0}), replace(QUICK, epochs=20))
    for name in ("undisturbed", "killed"):
        write_random_data(tmp_path / name / "data", sts=20)
        write_config(make_config(tmp_path / name, tiny_model, *stages))
    process = start(tmp_path / "undisturbed")
    assert process.wait() == 0, process.communicate()
    kill_at(tmp_path / "killed", 25)
    kill_at(tmp_path / "killed", 165)
    process = start(tmp_path / "killed")
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert json.loads(output)["resumed_from_step"] > 0

    expected, found = weights_of(tmp_path / "undisturbed"), weights_of(tmp_path / "killed")
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    records = [
        [record | {"seconds": 0} for record in read_metrics(tmp_path / name)] for name in ("undisturbed", "killed")
    ]
    assert records[0] == records[1]


def test_a_state_of_other_settings_is_refused(tmp_path: Path, tiny_model: str):
    write_random_data(tmp_path / "data")
    settings = replace(QUICK, save_every_steps=1)
    write_config(make_config(tmp_path, tiny_model, replace(settings, epochs=300)))
    kill_at(tmp_path, 3)
    with pytest.raises(StateError, match="another config or other data; delete"):
        train(make_config(tmp_path, tiny_model, settings))


def test_a_loss_that_is_not_finite_names_step_and_samples(tmp_path: Path, tiny_model: str):
    write_random_data(tmp_path / "data", samples=4)
    settings = replace(QUICK, learning_rate=1e30, max_gradient_norm=1e30, dtype="float32", retrieval_batch_size=2)
    with pytest.raises(TrainingDivergedError, match=r"of step \d+ is (nan|inf); samples s\d, s\d; look at"):
        train(make_config(tmp_path, tiny_model, settings))


def test_progress_says_loss_speed_and_time_left(tmp_path: Path, tiny_model: str, caplog: pytest.LogCaptureFixture):
    write_random_data(tmp_path / "data")
    with caplog.at_level(logging.INFO, logger="conan_assets"):
        train(make_config(tmp_path, tiny_model, replace(QUICK, max_steps=2)))
    assert any("2 of 2" in line and "s left, loss" in line and "tokens per second" in line for line in caplog.messages)


def test_a_wrong_config_ends_the_command_with_its_message(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    process = start(tmp_path)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert b"the key 'base_model' is missing" in errors


def test_metrics_of_a_killed_run_lose_their_torn_line(tmp_path: Path):
    (tmp_path / METRICS).write_text('{"stage": 0, "step": 1}\n{"stage": 0, "st')
    assert read_metrics(tmp_path) == [{"stage": 0, "step": 1}]


def test_the_trainer_needs_only_the_lean_packages():
    code = (
        "import sys, conan_assets.training.run\n"
        "heavy = {'dagster', 'polars', 'pydantic', 'yaml', 'datasets', 'mteb', 'faiss', 'matplotlib', 'openai'}\n"
        "ours = {name for name in sys.modules if name.startswith('conan_assets.')}\n"
        "print([name for name in ours if name.split('.')[1] not in ('training', 'encoding', 'artifacts', 'progress')])"
    )
    found = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
