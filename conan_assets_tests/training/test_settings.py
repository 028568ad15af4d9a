import json
from dataclasses import replace
from pathlib import Path

import pytest

from conan_assets.encoding.settings import EncoderSettings
from conan_assets.training.architecture import ArchitectureSettings, LoraSettings
from conan_assets.training.config import ConfigError, TrainingConfig, read_config, write_config
from conan_assets.training.settings import DynamicNegativeSettings, EarlyStopSettings, TrainingSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("max_steps", 0),
        ("temperature", 0.0),
        ("warmup_ratio", 1.5),
        ("dropout", 1.0),
        ("losses", {}),
        ("matryoshka_dims", (0,)),
        ("negatives_per_query", -1),
        ("sts_processes", 0),
        ("tasks", ()),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name: str, value: object):
    with pytest.raises(ValueError, match=rf"{name} is .*; give"):
        replace(TrainingSettings(), **{name: value})


def test_a_query_without_any_negative_is_refused():
    with pytest.raises(ValueError, match="a query needs a negative"):
        TrainingSettings(negatives_per_query=0, in_batch_negatives="none")


def test_a_config_is_read_back_as_it_was_written(tmp_path: Path):
    dynamic = DynamicNegativeSettings(rule="v1", v1_window_offset=10)
    second = TrainingSettings(
        losses={"cosent": 2.0}, dynamic_negatives=dynamic, early_stop=EarlyStopSettings(patience=9)
    )
    stages = (TrainingSettings(matryoshka_dims=(8, 16), matryoshka_weights=(1.0, 2.0)), second)
    architecture = ArchitectureSettings(head_dim=7, lora=LoraSettings(target_modules=("query", "value")))
    config = TrainingConfig(tmp_path, EncoderSettings("model", query_prompt="query: "), stages, architecture)
    assert read_config(write_config(config)) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stage": []}, "unknown key 'stage'; accepted are directory, base_model, stages, architecture"),
        ({"stages": []}, "stages is empty"),
        ({"stages": {}}, "give a list"),
        ({"stages": [{"temprature": 1}]}, r"stages\[0\]: unknown key 'temprature'; accepted are tasks, epochs"),
        ({"stages": [{"temperature": -1}]}, r"stages\[0\]: temperature is -1"),
        ({"stages": [{"temperature": "hot"}]}, r"stages\[0\]"),
        ({"stages": [{"dynamic_negatives": {"rule": "v3", "ratio": 1}}]}, "dynamic_negatives: unknown key 'ratio'"),
        ({"stages": [{"early_stop": {"patience": 0}}]}, "early_stop: patience is 0"),
        ({"trackers": ["tensorbord"]}, "trackers names 'tensorbord'; accepted are"),
        ({"base_model": {}}, "base_model: the key 'model' is missing"),
    ],
)
def test_a_wrong_config_names_the_key(tmp_path: Path, change: dict[str, object], message: str):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"base_model": {"model": "m"}, "stages": [{}]} | change))
    with pytest.raises(ConfigError, match=message):
        read_config(path)


def test_a_config_that_is_not_json_is_named(tmp_path: Path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"config\.json cannot be read as JSON"):
        read_config(tmp_path / "config.json")


def test_matryoshka_weights_must_fit_their_dims():
    with pytest.raises(ValueError, match="matryoshka_weights has 1 weights for 2 matryoshka_dims"):
        TrainingSettings(matryoshka_dims=(8, 16), matryoshka_weights=(1.0,))


@pytest.mark.parametrize("name", ["rule", "balance", "in_batch_negatives", "dtype"])
def test_a_choice_that_does_not_exist_is_refused(name: str):
    with pytest.raises(ValueError, match=rf"{name} is 'other'; give"):
        DynamicNegativeSettings(rule="other") if name == "rule" else TrainingSettings(**{name: "other"})  # type: ignore[arg-type]


def test_a_task_is_trained_only_if_a_loss_is_named_for_it():
    assert TrainingSettings().trained_tasks == ("retrieval", "classification", "sts")
    assert TrainingSettings(losses={"cosent": 1.0}).trained_tasks == ("sts",)
    assert TrainingSettings(losses={"margin_mse": 1.0}).trained_tasks == ("retrieval", "classification")
    with pytest.raises(ValueError, match="losses names cosent, but tasks only retrieval"):
        TrainingSettings(losses={"cosent": 1.0}, tasks=("retrieval",))


def test_dynamic_negatives_need_negatives():
    with pytest.raises(ValueError, match=r"dynamic_negatives\.rule is v2 and negatives_per_query is 0"):
        TrainingSettings(negatives_per_query=0, dynamic_negatives=DynamicNegativeSettings(rule="v2"))
