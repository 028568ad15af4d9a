"""Checkpoints in the graph: launched by torchrun, in stages, distilled, stopped early, with dynamic negatives."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from sentence_transformers import SentenceTransformer

from conan_assets.artifacts import ArtifactStore
from conan_assets.settings import Settings
from conan_assets_tests.defs.conftest import metadata, programme, run, write_beir_folder

ROOT = Path(__file__).parents[2]
MINED = '+key:"round_1/hard_negatives"'
CHECKPOINT = 'key:"round_1/checkpoint"'


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


def test_torchrun_trains_in_processes_of_its_own_and_the_launch_changes_no_fingerprint(
    mined: Settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    stages = training(mined, {"seed": 7})
    launched = run(changed(mined, training=stages, launch={"processes": 2}), CHECKPOINT)
    report = metadata(launched)["round_1/checkpoint"]
    assert (report["processes"].value, report["steps"].value) == (2, 3)
    assert not report["reused"].value
    again = metadata(run(changed(mined, training=stages), CHECKPOINT))["round_1/checkpoint"]
    assert again["reused"].value


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


def test_replaced_negatives_are_drawn_over_the_steps_and_left_as_a_table(mined: Settings):
    dynamic = {"dynamic_negatives": {"rule": "v2", "v2_floor": 1.0}, "epochs": 3, "max_steps": None}
    settings = changed(mined, training=training(mined, dynamic))
    report = metadata(run(settings, CHECKPOINT))["round_1/checkpoint"]
    assert report["negatives_replaced"].value > 0
    assert all(
        "data:image/png;base64," in report[f"{name}_curve"].md_str for name in ("loss", "scores", "replacements")
    )
    checkpoint = ArtifactStore(settings.home / "assets").current("round_1/checkpoint").path
    assert (checkpoint / "dynamic_negatives_1.parquet").exists()


def test_distillation_without_a_teacher_and_with_one_that_mining_does_not_name_are_refused(mined: Settings):
    stages = training(mined, {"losses": {"margin_mse": 1.0}})
    with pytest.raises(ValueError, match="uses the loss margin_mse: name its distillation_teacher"):
        changed(mined, training=stages)
    unnamed = {"candidates": ["student"], "veto": [], "negatives_per_query": 2}
    with pytest.raises(ValueError, match="'tiny'; the teachers that mining names are none"):
        changed(mined, training=stages, distillation_teacher="tiny", mining=unnamed)


def test_cancelling_the_run_ends_all_processes_of_torchrun_and_a_next_run_goes_on(mined: Settings, tmp_path: Path):
    stages = training(mined, {"epochs": 10_000, "max_steps": 100_000, "save_every_steps": 5})
    settings = changed(mined, training=stages, launch={"processes": 2})
    profile = tmp_path / "profile.yaml"
    profile.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    environment = {
        **os.environ,
        "CONAN_PROFILE": str(profile),
        "DAGSTER_HOME": str(tmp_path),
        "OMP_NUM_THREADS": "1",
    }
    environment.pop("CONAN_HOME", None)
    dagster = [str(Path(sys.executable).parent / "dagster"), "asset", "materialize", "-m", "conan_assets.definitions"]
    in_process = json.dumps({"execution": {"config": {"in_process": {}}}})
    command = [*dagster, "--select", CHECKPOINT, "--config-json", in_process]
    log = (tmp_path / "log").open("w")
    run_process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    home = settings.home / "assets" / "round_1" / "checkpoint"
    try:
        _wait_for(lambda: list(home.glob("*.partial/state/*")), "a saved state", run_process, tmp_path / "log")
        trainers = _trainers(home)
        assert len(trainers) >= 2
        run_process.send_signal(signal.SIGINT)
        assert run_process.wait(timeout=60) != 0
    finally:
        run_process.kill()
        log.close()
    _wait_for(lambda: not any(Path(f"/proc/{process}").exists() for process in trainers), "the end of all processes")
    assert list(home.glob("*.partial/state/*")), "a next run goes on from here"


def _trainers(home: Path) -> list[int]:
    """Return the ids of the processes that train below ``home``."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().decode()
        except OSError:
            continue
        if "conan_assets.training" in command and str(home) in command:
            found.append(int(folder.name))
    return found


def _wait_for(condition, what: str, process: subprocess.Popen | None = None, log: Path | None = None) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within 90 s"
        assert process is None or process.poll() is None, log.read_text()
        time.sleep(0.1)
