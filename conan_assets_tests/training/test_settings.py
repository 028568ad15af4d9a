import json
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

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
        ("learning_rate", float("nan")),
        ("temperature", float("inf")),
        ("balance", "other"),
        ("in_batch_negatives", "other"),
        ("dtype", "other"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name: str, value: object):
    with pytest.raises(ValidationError) as caught:
        replace(TrainingSettings(), **{name: value})
    assert {problem["loc"][0] for problem in caught.value.errors()} == {name}


def test_every_key_is_described():
    schema = TypeAdapter(TrainingConfig).json_schema()
    sections = {"TrainingConfig": schema, **schema["$defs"]}
    nameless = [
        f"{section}.{key}"
        for section, values in sections.items()
        for key, value in values["properties"].items()
        if not value.get("description")
    ]
    assert not nameless


def test_a_query_without_any_negative_is_refused():
    with pytest.raises(ValueError, match="a query needs a negative"):
        TrainingSettings(negatives_per_query=0, in_batch_negatives="none")


def test_a_config_is_read_back_as_it_was_written(tmp_path: Path):
    dynamic = DynamicNegativeSettings(rule="v1", v1_window_offset=10)
    second = TrainingSettings(
        losses={"cosent": 2.0}, epochs=2, dynamic_negatives=dynamic, early_stop=EarlyStopSettings(patience=9)
    )
    stages = (TrainingSettings(matryoshka_dims=(8, 16), matryoshka_weights=(1.0, 2.0)), second)
    architecture = ArchitectureSettings(head_dim=7, lora=LoraSettings(target_modules=("query", "value")))
    config = TrainingConfig(tmp_path, EncoderSettings("model", query_prompt="query: "), stages, architecture)
    assert read_config(write_config(config)) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"stage": []},
            "stage: unknown key; accepted here: architecture, base_model, directory, shard_weights, .*trackers",
        ),
        ({"stages": []}, "stages: Tuple should have at least 1 item"),
        ({"stages": {}}, "stages: Input should be a valid tuple"),
        ({"stages": [{"temprature": 1}]}, r"stages\.0\.temprature: unknown key; accepted here: attention_dropout"),
        ({"stages": [{"temperature": -1}]}, r"stages\.0\.temperature: Input should be greater than 0, not -1"),
        ({"stages": [{"temperature": "hot"}]}, r"stages\.0\.temperature: .*, not 'hot'"),
        ({"stages": [{"dynamic_negatives": {"rule": "v3", "ratio": 1}}]}, r"dynamic_negatives\.ratio: unknown key"),
        ({"stages": [{"early_stop": {"patience": 0}}]}, r"early_stop\.patience: .* not 0"),
        ({"trackers": ["tensorbord"]}, r"trackers\.0: .*'tensorboard'.*, not 'tensorbord'"),
        (
            {"architecture": {"lora": {}}, "shard_weights": True},
            "shard_weights shares out weights that are all trained, and lora trains few: set one of them",
        ),
        (
            {"stages": [{"dtype": "float32"}, {"dtype": "bfloat16"}], "shard_weights": True},
            "shard_weights gathers weights in one dtype, and the stages have bfloat16 and float32",
        ),
        ({"base_model": {}}, r"base_model\.model: Field required"),
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


def test_a_task_is_trained_only_if_a_loss_is_named_for_it():
    assert TrainingSettings().trained_tasks == ("retrieval", "classification", "sts")
    assert TrainingSettings(losses={"cosent": 1.0}).trained_tasks == ("sts",)
    assert TrainingSettings(losses={"margin_mse": 1.0}).trained_tasks == ("retrieval", "classification")
    with pytest.raises(ValueError, match="losses names cosent, but tasks only retrieval"):
        TrainingSettings(losses={"cosent": 1.0}, tasks=("retrieval",))


def test_dynamic_negatives_need_negatives():
    with pytest.raises(ValueError, match=r"dynamic_negatives\.rule is v2 and negatives_per_query is 0"):
        TrainingSettings(negatives_per_query=0, dynamic_negatives=DynamicNegativeSettings(rule="v2"))


def test_negatives_that_are_replaced_in_vain_are_refused():
    with pytest.raises(ValueError, match="rule is v2 and epochs is 1: a replaced negative is trained on when"):
        TrainingSettings(dynamic_negatives=DynamicNegativeSettings(rule="v2"))
