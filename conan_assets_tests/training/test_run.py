import json
import logging
import re
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from conan_assets.training import trainer
from conan_assets.training.__main__ import main
from conan_assets.training.columns import TrainingDataError
from conan_assets.training.config import TrainingConfig, write_config
from conan_assets.training.metrics import METRICS, read_metrics
from conan_assets.training.run import train
from conan_assets.training.settings import DynamicNegativeSettings, EarlyStopSettings, TrainingSettings
from conan_assets.training.state import DirectoryInUseError, StateError
from conan_assets.training.trainer import Trainer, TrainingDivergedError
from conan_assets_tests.conftest import build_tiny_model
from conan_assets_tests.forked import fork, kill
from conan_assets_tests.training.samples import make_config, write_random_data, write_retrieval, write_texts

QUICK = TrainingSettings(
    epochs=4, retrieval_batch_size=6, sts_batch_size=6, negatives_per_query=2, learning_rate=1e-3, temperature=0.1
)
SECONDS_TO_TRAIN = 120


def weights_of(directory: Path) -> dict[str, torch.Tensor]:
    return load_file(directory / "model" / "model.safetensors")


@pytest.mark.slow
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


def start(config: TrainingConfig) -> ForkServerProcess:
    return fork(config.directory / "log", train, config)


def start_and_wait(config: TrainingConfig, lines: int) -> ForkServerProcess:
    """Start the run and return it once it has written that many lines of metrics."""
    process = start(config)
    deadline = time.monotonic() + SECONDS_TO_TRAIN
    while time.monotonic() < deadline and process.is_alive() and len(read_metrics(config.directory)) < lines:
        time.sleep(0.005)
    assert process.is_alive(), "the run ended before it could be killed"
    return process


def kill_at(config: TrainingConfig, lines: int) -> None:
    """Start the run and kill -9 it once it has written that many lines of metrics."""
    kill(start_and_wait(config, lines))


@pytest.mark.slow
def test_a_killed_run_goes_on_to_bitwise_the_same_weights(tmp_path: Path, tiny_model: str):
    dynamic = DynamicNegativeSettings(rule="v2", v2_floor=0.9, v2_ceiling=1.0)
    first = replace(QUICK, epochs=40, save_every_minutes=0, tasks=("retrieval",), dynamic_negatives=dynamic)
    stages = (first, replace(QUICK, epochs=20, average_last=0.5, dynamic_negatives=replace(dynamic, rule="v1")))
    configs = [make_config(tmp_path / name, tiny_model, *stages) for name in ("undisturbed", "killed")]
    for config in configs:
        write_random_data(config.directory / "data", sts=20)
    undisturbed = start(configs[0])
    kill_at(configs[1], 25)
    kill_at(configs[1], 165)
    killed = start(configs[1])
    for process, config in zip((undisturbed, killed), configs, strict=True):
        process.join(SECONDS_TO_TRAIN)
        assert process.exitcode == 0, (config.directory / "log").read_text()
    reports = [train(config) for config in configs]
    assert reports[0]["negatives_replaced"] == reports[1]["negatives_replaced"] > 0
    assert "resumed_from_step" not in reports[0]
    assert reports[1]["resumed_from_step"] > 0

    expected, found = weights_of(tmp_path / "undisturbed"), weights_of(tmp_path / "killed")
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    records = [
        [record | {"seconds": 0} for record in read_metrics(tmp_path / name)] for name in ("undisturbed", "killed")
    ]
    assert records[0] == records[1]


@pytest.mark.slow
def test_a_second_run_is_refused_where_one_is_training(tmp_path: Path, tiny_model: str):
    write_random_data(tmp_path / "data")
    process = start_and_wait(make_config(tmp_path, tiny_model, replace(QUICK, epochs=10_000)), 1)
    message = f"another run is training in {tmp_path}: wait for it, or end process {process.pid} on"
    try:
        with pytest.raises(DirectoryInUseError, match=message):
            train(make_config(tmp_path, tiny_model, replace(QUICK, max_steps=1)))
    finally:
        kill(process)


@pytest.mark.slow
def test_a_state_of_other_settings_is_refused(tmp_path: Path, tiny_model: str):
    write_random_data(tmp_path / "data")
    settings = replace(QUICK, save_every_minutes=0)
    kill_at(make_config(tmp_path, tiny_model, replace(settings, epochs=300)), 3)
    with pytest.raises(StateError, match="another config, other data or another version of training; delete"):
        train(make_config(tmp_path, tiny_model, settings))


def test_a_loss_that_is_not_finite_names_step_and_samples(tmp_path: Path, tiny_model: str):
    write_random_data(tmp_path / "data", samples=4)
    settings = replace(QUICK, learning_rate=1e30, max_gradient_norm=1e30, dtype="float32", retrieval_batch_size=2)
    message = r"of stage 1, step \d+ is (nan|inf): sample s\d, sample s\d.*; look at"
    with pytest.raises(TrainingDivergedError, match=message):
        train(make_config(tmp_path, tiny_model, settings))


def test_sentence_pairs_that_break_the_loss_are_named_by_their_rows(tmp_path: Path, tiny_model: str):
    write_random_data(tmp_path / "data", sts=3)
    settings = replace(QUICK, learning_rate=1e30, max_gradient_norm=1e30, dtype="float32", tasks=("sts",))
    with pytest.raises(TrainingDivergedError, match=r"row [123] of sts\.parquet, row [123] of sts\.parquet"):
        train(make_config(tmp_path, tiny_model, settings))


def test_a_stage_without_dropout_of_its_own_has_the_models_again(tmp_path: Path, tiny_model: str):
    write_random_data(tmp_path / "data")
    seen = []
    build = Trainer.__init__

    def spy(trainer: Trainer, *arguments: object) -> None:
        build(trainer, *arguments)
        seen.append({module.p for module in trainer.model.modules() if isinstance(module, torch.nn.Dropout)})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "__init__", spy)
        stages = [replace(QUICK, max_steps=1, dropout=p, attention_dropout=p) for p in (0.0, None, 0.3)]
        train(make_config(tmp_path, tiny_model, *stages))
    assert seen == [{0.0}, {0.1}, {0.3}]


def test_who_watches_memory_and_the_order_of_keys_are_no_part_of_a_run_and_a_finished_one_refuses_another_config(
    tmp_path: Path, tiny_model: str
):
    write_random_data(tmp_path / "data")
    config = make_config(tmp_path, tiny_model, replace(QUICK, max_steps=2))
    report = train(config)
    assert train(replace(config, trackers=())) == report
    little = replace(QUICK, max_steps=2, tokens_in_memory=0, save_every_minutes=0)
    assert train(make_config(tmp_path, tiny_model, little)) == report
    reordered = replace(QUICK, max_steps=2, losses=dict(reversed(QUICK.losses.items())))
    assert train(make_config(tmp_path, tiny_model, reordered)) == report
    with pytest.raises(StateError, match="finished run of another config"):
        train(make_config(tmp_path, tiny_model, replace(QUICK, max_steps=1)))


def test_two_stages_train_their_own_tasks_one_after_the_other(tmp_path: Path, tiny_model: str):
    write_random_data(tmp_path / "data", sts=12)
    retrieval = replace(QUICK, max_steps=2, tasks=("retrieval",), negatives_per_query=1)
    train(make_config(tmp_path, tiny_model, retrieval, replace(QUICK, max_steps=3)))
    records = read_metrics(tmp_path)
    assert [(record["stage"], record["step"]) for record in records] == [(0, 1), (0, 2), (1, 1), (1, 2), (1, 3)]
    assert ["cosent" in record for record in records] == [False, False, True, True, True]


def test_the_table_of_dynamic_negatives_is_left_for_reading(tmp_path: Path, tiny_model: str):
    write_random_data(tmp_path / "data", samples=6, pool=5)
    rule = DynamicNegativeSettings(rule="v2", v2_floor=1.0)
    report = train(
        make_config(tmp_path, tiny_model, replace(QUICK, epochs=4, dynamic_negatives=rule, negatives_per_query=2))
    )
    table = pq.read_table(tmp_path / "dynamic_negatives_1.parquet").to_pydict()
    assert table["sample_id"] == [f"s{i}" for i in range(6)]
    pools = pq.read_table(tmp_path / "data" / "retrieval.parquet")["candidates"].to_pylist()
    assert table["replaced"] == [len(pool) - 2 for pool in pools]
    assert sum(table["replaced"]) == report["negatives_replaced"]
    assert table["exhausted"] == [True] * 6
    assert all(max(current) == len(pool) - 1 for current, pool in zip(table["current"], pools, strict=True))
    for pool, current, gave_way in zip(pools, table["current"], table["gave_way"], strict=True):
        assert gave_way == [text for position, text in enumerate(pool) if position not in current]
    assert report["replaced_and_trained_on"] > 0


def test_replaced_negatives_that_no_step_trains_on_are_warned_about(
    tmp_path: Path, tiny_model: str, caplog: pytest.LogCaptureFixture
):
    write_random_data(tmp_path / "data", samples=12)
    rule = DynamicNegativeSettings(rule="v2", v2_floor=1.0)
    report = train(make_config(tmp_path, tiny_model, replace(QUICK, max_steps=2, dynamic_negatives=rule)))
    assert (report["negatives_replaced"], report["replaced_and_trained_on"]) == (24, 0)
    assert any("stage 1: 24 hard negatives were replaced and none was trained on" in line for line in caplog.messages)


def test_event_files_are_written_for_tensorboard(tmp_path: Path, tiny_model: str):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    write_random_data(tmp_path / "data")
    train(make_config(tmp_path, tiny_model, replace(QUICK, max_steps=2)))
    assert list(tmp_path.glob("**/events.out.tfevents.*"))


@pytest.mark.slow
def test_memory_bounded_training_gives_the_same_weights(tmp_path: Path, tiny_model: str):
    for name, tokens in (("all", "all"), ("fitted", "auto"), ("few", 50)):
        write_random_data(tmp_path / name / "data", sts=12)
        settings = replace(QUICK, max_steps=6, tokens_per_mini_batch=40, tokens_in_memory=tokens)
        train(make_config(tmp_path / name, tiny_model, settings))
    expected, found = weights_of(tmp_path / "all"), weights_of(tmp_path / "few")
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.slow
def test_averaging_gives_the_mean_of_the_last_steps(tmp_path: Path, tiny_model: str):
    for name, settings in {
        "three": replace(QUICK, max_steps=3, warmup_ratio=0.0),
        "four": replace(QUICK, max_steps=4, average_last=0.5),
        "last": replace(QUICK, max_steps=4),
    }.items():
        write_random_data(tmp_path / name / "data")
        train(make_config(tmp_path / name, tiny_model, settings))
    averaged, last = weights_of(tmp_path / "four"), weights_of(tmp_path / "last")
    assert any(not torch.equal(averaged[name], last[name]) for name in last)


def test_an_early_stop_ends_the_stage_with_its_best_weights(tmp_path: Path, tiny_model: str):
    write_random_data(tmp_path / "data", samples=12)
    write_retrieval(tmp_path / "data", [("dev", "abcd", ["t0"], ["t1", "t2"])], "dev.parquet")
    settings = replace(QUICK, epochs=50, early_stop=EarlyStopSettings(every_steps=2, patience=2), learning_rate=1e-9)
    report = train(make_config(tmp_path, tiny_model, settings))
    measured = [record["dev_ndcg_at_10"] for record in read_metrics(tmp_path) if "dev_ndcg_at_10" in record]
    assert report["steps"] == 2 * len(measured) == 6
    assert measured[0] == measured[1] == measured[2]


def test_distillation_without_teacher_scores_is_refused(tmp_path: Path, tiny_model: str):
    write_random_data(tmp_path / "data")
    with pytest.raises(
        TrainingDataError, match="kl_distillation needs the columns positive_scores and candidate_scores"
    ):
        train(make_config(tmp_path, tiny_model, replace(QUICK, losses={"kl_distillation": 1.0})))


def test_the_log_says_what_a_stage_will_do_how_long_it_takes_and_each_tasks_smoothed_loss(
    tmp_path: Path, tiny_model: str, caplog: pytest.LogCaptureFixture
):
    write_random_data(tmp_path / "data", sts=12)
    with caplog.at_level(logging.INFO, logger="conan_assets"):
        report = train(make_config(tmp_path, tiny_model, replace(QUICK, max_steps=3)))
    lines = [line for line in caplog.messages if line.startswith("training, stage 1")]
    plan = (
        r"3 steps of 6 queries and 6 sentence pairs; texts of up to \d+ tokens \(half have \d+ or less, [\d.]+ % are "
    )
    assert re.search(plan + r"cut\); activations of [\d,]+ tokens \(1\.[123] GiB\) kept; \w+ on cpu", lines[0])
    assert re.search(r"a step takes \d+\.\d s, those left about 0 min", "\n".join(lines))
    assert re.search(r"3 of 3, .*, smoothed cosent [\d.]+, info_nce [\d.]+, .* tokens per second", lines[-1])
    assert 0 <= report["share_of_texts_cut"] <= 0.02
    assert report["max_tokens"] % 16 == 0


def test_attention_is_computed_as_suits_the_length_that_texts_are_cut_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lengths = []

    def noted(tokens: int, *others: object) -> AbstractContextManager[None]:
        lengths.append(tokens)
        return nullcontext()

    monkeypatch.setattr(trainer, "attention_kernel", noted)
    write_texts(tmp_path / "data", dict.fromkeys("pn", "abc " * 60))
    write_retrieval(tmp_path / "data", [("s", "abc " * 60, ["p"], ["n"])])
    base = build_tiny_model(tmp_path / "base", positions=256)
    train(make_config(tmp_path, base, replace(QUICK, max_steps=1, max_tokens=32)))
    assert set(lengths) == {32}


def test_texts_beyond_the_models_own_limit_are_counted_as_cut(tmp_path: Path, tiny_model: str):
    others = {f"n{number}": "a b c"[: number + 1] for number in range(9)}
    write_texts(tmp_path / "data", {"long": "abc " * 40, **others})
    write_retrieval(tmp_path / "data", [("s", "ab", ["long"], list(others))])
    report = train(make_config(tmp_path, tiny_model, replace(QUICK, max_steps=1)))
    assert report["max_tokens"] == 64
    assert report["share_of_texts_cut"] == pytest.approx(0.1, abs=0.01)


def test_the_command_prints_the_report(
    tmp_path: Path, tiny_model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    write_random_data(tmp_path / "data")
    path = write_config(make_config(tmp_path, tiny_model, replace(QUICK, max_steps=1)))
    monkeypatch.setattr(sys, "argv", ["conan_assets.training", str(path)])
    main()
    assert json.loads(capsys.readouterr().out)["steps"] == 1


def test_a_wrong_config_ends_the_command_with_its_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(sys, "argv", ["conan_assets.training", str(tmp_path / "config.json")])
    with pytest.raises(SystemExit, match="base_model: Field required"):
        main()


def test_metrics_of_a_killed_run_lose_their_torn_line(tmp_path: Path):
    (tmp_path / METRICS).write_text('{"stage": 0, "step": 1}\n{"stage": 0, "st')
    assert read_metrics(tmp_path) == [{"stage": 0, "step": 1}]
