"""Training on two machines ends in the weights of two processes on one: by torchrun on each, and by Ray."""

import os
import platform
import subprocess
import sys
import threading
from pathlib import Path

import dagster as dg
import psutil
import pytest

from conan_assets.compute import WorkerDiedError
from conan_assets.compute.ray_groups import run_together
from conan_assets.defs.launchers import Launcher, RayLauncher, TorchrunLauncher
from conan_assets.training.config import CONFIG, ConfigError, read_config
from conan_assets.training.launch import TrainingFailedError
from conan_assets.training.on_nodes import marked_for_nodes
from conan_assets.training.settings import TrainingSettings
from conan_assets_tests.compute.clusters import NODE, KilledBeforeWork, loopback_cluster, wait_until
from conan_assets_tests.processes import free_port
from conan_assets_tests.training.samples import make_config, write_random_data

pytestmark = pytest.mark.slow

SETTINGS = TrainingSettings(
    epochs=4, retrieval_batch_size=4, negatives_per_query=2, learning_rate=1e-3, dtype="float32", save_every_minutes=0
)


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")


def launch(launcher: Launcher, folder: Path, model: str) -> None:
    """Let an asset train."""
    write_random_data(folder / "data")
    config = make_config(folder, model, SETTINGS)

    @dg.asset
    def checkpoint(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata={"steps": launcher.train(context, config)["steps"]})

    assert dg.materialize([checkpoint]).success


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> bytes:
    folder = tmp_path_factory.mktemp("one_machine")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        launch(TorchrunLauncher(processes=2, options=[]), folder, tiny_model)
    return weights(folder)


def test_torchrun_on_two_machines_trains_the_weights_of_one(tmp_path: Path, tiny_model: str, expected: bytes):
    meeting = ["--nnodes=2", "--master-addr=127.0.0.1", f"--master-port={free_port()}"]
    other = [sys.executable, "-m", "torch.distributed.run", *meeting, "--node-rank=1", "-m", "conan_assets.training"]

    def follow() -> None:
        wait_until((tmp_path / CONFIG).exists)
        subprocess.run([*other, str(tmp_path / CONFIG)], check=True, timeout=120)

    second = threading.Thread(target=follow)
    second.start()
    launch(TorchrunLauncher(processes=1, options=[*meeting, "--node-rank=0"]), tmp_path, tiny_model)
    second.join()
    assert weights(tmp_path) == expected


def test_on_ray_training_goes_on_after_a_kill_to_the_weights_of_one_machine(
    tmp_path: Path, tiny_model: str, expected: bytes
):
    killed: list[psutil.Process] = []

    def kill_one_trainer() -> None:
        wait_until(lambda: any((tmp_path / "state").glob("stage-*")), seconds=120)
        trainers = [process for process in psutil.Process().children(recursive=True) if trains(process, tmp_path)]
        killed.append(trainers[-1])
        killed[0].kill()

    killer = threading.Thread(target=kill_one_trainer)
    with loopback_cluster() as cluster:
        cluster.add_node(**NODE)
        killer.start()
        launcher = RayLauncher(address=cluster.address, nodes=2, processes_per_node=1)
        launch(launcher, tmp_path, tiny_model)
        killer.join()
    assert len(killed) == 1
    assert weights(tmp_path) == expected


def test_a_node_that_does_not_see_the_run_ends_it_before_training_begins(tmp_path: Path):
    of_an_earlier_attempt = tmp_path / CONFIG
    of_an_earlier_attempt.touch()
    with marked_for_nodes(of_an_earlier_attempt, nodes=1, processes=1) as work:
        work.require()
    told: list[object] = []
    with loopback_cluster() as cluster, pytest.raises(TrainingFailedError) as raised:
        run_together(cluster.address, 1, 1, work, lambda _, line: told.append(line))
    assert str(raised.value).startswith(
        f"node {platform.node()} does not see this run's {tmp_path}, or has a folder of"
    )
    assert "$CONAN_CACHE, under the same path" in str(raised.value)
    assert not told
    assert [*tmp_path.iterdir()] == [of_an_earlier_attempt]


def test_a_node_that_dies_before_training_begins_is_one_to_begin_again_without():
    with loopback_cluster() as cluster:
        errors = run_together(cluster.address, 1, 1, KilledBeforeWork(), print)
    assert [type(error) for error in errors] == [WorkerDiedError]


def test_a_machine_that_does_not_see_the_run_is_told_the_way_out(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"config.json is not there: every machine .* see \$CONAN_HOME"):
        read_config(tmp_path / CONFIG)


def trains(process: psutil.Process, folder: Path) -> bool:
    command = process.cmdline() if process.is_running() else []
    return str(folder / CONFIG) in command and "torch.distributed.run" not in command and process.pid != os.getpid()
