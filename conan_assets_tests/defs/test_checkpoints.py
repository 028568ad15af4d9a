"""Checkpoints in the graph: launched by torchrun, in stages, distilled, stopped early, with dynamic negatives."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import psutil
import pytest
import torch
import yaml
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from conan_assets.artifacts import ArtifactStore
from conan_assets.defs.checkpoints import after_the_dropped, stages_of
from conan_assets.settings import Settings
from conan_assets.training.metrics import read_metrics
from conan_assets_tests.defs.conftest import metadata, programme, run, write_beir_folder
from conan_assets_tests.processes import BIN, started, wait_until

pytestmark = pytest.mark.slow

MINED = '+key:"round_1/hard_negatives"'
CHECKPOINT = 'key:"round_1/checkpoint"'
STEPS = 200


@pytest.fixture(scope="module")
def mined(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> Settings:
    """Return a programme whose first round is mined."""
    folder = tmp_path_factory.mktemp("mined")
    write_beir_folder(folder / "animals")
    settings = programme(folder / "animals", tiny_model, folder / "home", rounds=1)
    run(settings, MINED)
    return settings


def changed(settings: Settings, **values: object) -> Settings:
    return Settings.model_validate(settings.model_dump(mode="json") | values)


def training(settings: Settings, *stages: dict[str, object]) -> list[dict[str, object]]:
    common = settings.model_dump(mode="json")["training"][0]
    return [common | stage for stage in stages]


def test_torchrun_trains_in_processes_of_its_own_that_tell_the_run_and_the_launch_changes_no_fingerprint(
    mined: Settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    stages = training(mined, {"seed": 7})
    with dg.DagsterInstance.ephemeral() as instance:
        launched = run(changed(mined, training=stages, launch={"processes": 2}), CHECKPOINT, instance=instance)
        lines = [record.user_message for record in instance.all_logs(launched.run_id)]
    assert sum("3 of 3" in line and "samples per second" in line for line in lines) == 1
    report = metadata(launched)["round_1/checkpoint"]
    assert (report["processes"].value, report["steps"].value) == (2, 3)
    assert not report["reused"].value
    again = metadata(run(changed(mined, training=stages), CHECKPOINT))["round_1/checkpoint"]
    assert again["reused"].value


def test_every_round_draws_its_samples_in_an_order_of_its_own(mined: Settings):
    seeds = [stage.seed for number in (1, 2, 3) for stage in stages_of(mined, number)]
    assert seeds[0] == mined.training[0].seed
    assert len(set(seeds)) == 3


def test_stages_of_their_own_settings_distil_stop_early_and_add_a_head(mined: Settings):
    stages = training(
        mined,
        {"tasks": ["retrieval"], "losses": {"info_nce": 1.0}},
        {
            "losses": {"info_nce": 1.0, "kl_distillation": 0.5},
            "max_steps": 6,
            "epochs": 5,
            "learning_rate": 1e-12,
            "early_stop": {"every_steps": 1, "patience": 2},
        },
    )
    settings = changed(mined, training=stages, distillation_teacher="tiny", architecture={"head_dim": 24})
    report = metadata(run(settings, CHECKPOINT))["round_1/checkpoint"]
    assert report["dev_samples"].value == 8
    assert report["steps"].value == 3 + 3, "the second stage stops when nothing gets better"
    checkpoint = ArtifactStore(settings.home / "assets").current("round_1/checkpoint").path
    assert SentenceTransformer(str(checkpoint / "model"), device="cpu").get_embedding_dimension() == 24
    records = [json.loads(line) for line in (checkpoint / "metrics.jsonl").read_text().splitlines()]
    assert [("kl_distillation" in record, "dev_ndcg_at_10" in record) for record in records] == [
        *[(False, False)] * 3,
        *[(True, True)] * 3,
    ]
    assert all(record["kl_distillation"] > 0 for record in records[3:])
    other = settings.dev_metric.model_copy(update={"split": "test"})
    measured = metadata(run(settings.model_copy(update={"dev_metric": other}), CHECKPOINT))["round_1/checkpoint"]
    assert not measured["reused"].value, "the pairs that end a stage early are others"


def test_replaced_negatives_are_drawn_over_the_steps_and_left_as_a_table(mined: Settings):
    dynamic = {"dynamic_negatives": {"rule": "v2", "v2_floor": 1.0}, "epochs": 3, "max_steps": None}
    settings = changed(mined, training=training(mined, dynamic))
    report = metadata(run(settings, CHECKPOINT))["round_1/checkpoint"]
    assert report["negatives_replaced"].value > report["replaced_and_trained_on"].value > 0
    assert all(
        "data:image/png;base64," in report[f"{name}_curve"].md_str for name in ("loss", "scores", "replacements")
    )
    checkpoint = ArtifactStore(settings.home / "assets").current("round_1/checkpoint").path
    assert (checkpoint / "dynamic_negatives_1.parquet").exists()


def test_a_round_takes_last_what_had_become_too_easy_in_the_round_before(tmp_path: Path):
    rows = [("a", "d1", 1), ("a", "d2", 2), ("a", "d3", 3), ("b", "d1", 1), ("b", "d2", None)]
    mined = pl.DataFrame(rows, {"query_id": pl.String, "doc_id": pl.String, "order": pl.Int32}, orient="row")
    assert after_the_dropped(mined, tmp_path).equals(mined)
    gone = pl.DataFrame({"sample_id": ["a#2", "c"], "gave_way": [["d1", "d9"], ["d1"]]})
    gone.write_parquet(tmp_path / "dynamic_negatives_1.parquet")
    found = after_the_dropped(mined, tmp_path)
    assert found.schema == mined.schema
    assert found.sort("query_id", "order", nulls_last=True)["doc_id"].to_list() == ["d2", "d3", "d1", "d1", "d2"]


def test_distillation_without_a_teacher_and_with_one_that_mining_does_not_name_are_refused(mined: Settings):
    stages = training(mined, {"losses": {"margin_mse": 1.0}})
    with pytest.raises(ValueError, match="uses the loss margin_mse: name its distillation_teacher"):
        changed(mined, training=stages)
    unnamed = {"candidates": ["student"], "veto": [], "negatives_per_query": 2}
    with pytest.raises(ValueError, match="'tiny'; the teachers that mining names are none"):
        changed(mined, training=stages, distillation_teacher="tiny", mining=unnamed)


@contextlib.contextmanager
def training_alone(settings: Settings, folder: Path) -> Iterator[subprocess.Popen]:
    """Materialize the checkpoint in a process of its own; yield that once its trainers have saved a state."""
    profile = folder / "profile.yaml"
    profile.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    places = {"CONAN_PROFILE": str(profile), "DAGSTER_HOME": str(folder), "TMPDIR": str(folder)}
    environment = {**os.environ, **places, "OMP_NUM_THREADS": "1"}
    environment.pop("CONAN_HOME", None)
    in_process = json.dumps({"execution": {"config": {"in_process": {}}}})
    command = [str(BIN / "dagster"), "asset", "materialize", "-m", "conan_assets.definitions", "--select", CHECKPOINT]
    with started([*command, "--config-json", in_process], folder / "log", env=environment) as process:
        wait_until(lambda: any(partial(settings).glob("state/*")), process, folder / "log")
        assert len(trainers(settings)) >= 2
        yield process


def partial(settings: Settings) -> Path:
    """Return the folder that the checkpoint is trained in; what stays behind there when it ends too early."""
    found = [*(settings.home / "assets" / "round_1" / "checkpoint").glob("*.partial")]
    return found[0] if found else settings.home


def trainers(settings: Settings) -> list[int]:
    """Return the ids of the processes of torchrun that work below the home."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = " ".join(process.info["cmdline"] or ())
        if "conan_assets.training" in command and str(settings.home) in command:
            found.append(process.pid)
    return found


def all_end(settings: Settings, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while trainers(settings) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not trainers(settings)


def in_a_home_of_its_own(settings: Settings, home: Path, **values: object) -> Settings:
    shutil.copytree(settings.home, home, symlinks=True)
    return changed(settings, home=str(home), **values)


def listening(process: subprocess.Popen) -> set[str]:
    """Return the addresses that a process, or one it started, accepts connections at."""
    parent = psutil.Process(process.pid)
    connections = [each for member in (parent, *parent.children(recursive=True)) for each in member.net_connections()]
    return {each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN}


def test_trainers_listen_on_loopback_alone_and_all_end_when_the_run_is_cancelled_so_that_a_next_one_goes_on(
    mined: Settings, tmp_path: Path
):
    stages = training(mined, {"epochs": 10_000, "max_steps": 100_000, "save_every_minutes": 0})
    settings = in_a_home_of_its_own(mined, tmp_path / "home", training=stages, launch={"processes": 2})
    with training_alone(settings, tmp_path) as process:
        assert listening(process) == {"127.0.0.1"}
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) != 0
    assert all_end(settings, seconds=60)
    assert any(partial(settings).glob("state/*")), "a next run goes on from here"


def test_killing_the_run_ends_all_trainers_and_the_next_run_goes_on_to_the_same_weights(
    mined: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    values = {
        "training": training(mined, {"epochs": 10_000, "max_steps": STEPS, "save_every_minutes": 0}),
        "launch": {"processes": 2},
    }
    undisturbed, killed = (in_a_home_of_its_own(mined, tmp_path / name, **values) for name in ("whole", "killed"))
    with training_alone(killed, tmp_path) as process:
        process.kill()
        process.wait()
        assert all_end(killed, seconds=10)
    assert not list(tmp_path.glob("conan-launch-*"))
    assert not (partial(killed) / "report.json").exists(), "they ended because the run was killed"
    weights, metrics = [], []
    for settings in (undisturbed, killed):
        run(settings, CHECKPOINT)
        checkpoint = ArtifactStore(settings.home / "assets").current("round_1/checkpoint")
        weights.append(load_file(checkpoint.path / "model" / "model.safetensors"))
        metrics.append([record | {"seconds": 0} for record in read_metrics(checkpoint.path)])
    assert checkpoint.report["resumed_from_step"] > 0
    assert [record["step"] for record in metrics[1]] == list(range(1, STEPS + 1))
    assert metrics[0] == metrics[1]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
