import json
from dataclasses import replace
from pathlib import Path

import pytest

from conan_assets.encoding.settings import EncoderSettings
from conan_assets.training.config import ConfigError, TrainingConfig, read_config, write_config
from conan_assets.training.settings import TrainingSettings


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
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name: str, value: object):
    with pytest.raises(ValueError, match=rf"{name} is .*; give"):
        replace(TrainingSettings(), **{name: value})


def test_a_query_without_any_negative_is_refused():
    with pytest.raises(ValueError, match="a query needs a negative"):
        TrainingSettings(negatives_per_query=0, in_batch_negatives="none")


def test_a_config_is_read_back_as_it_was_written(tmp_path: Path):
    stages = (TrainingSettings(), TrainingSettings(losses={"cosent": 2.0}, matryoshka_dims=(8, 16)))
    config = TrainingConfig(tmp_path, EncoderSettings("model", query_prompt="query: "), stages)
    assert read_config(write_config(config)) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stage": []}, "unknown key 'stage'; accepted are directory, base_model, stages"),
        ({"stages": []}, "stages is empty"),
        ({"stages": {}}, "give a list"),
        ({"stages": [{"temprature": 1}]}, r"stages\[0\]: unknown key 'temprature'; accepted are epochs"),
        ({"stages": [{"temperature": -1}]}, r"stages\[0\]: temperature is -1"),
        ({"stages": [{"temperature": "hot"}]}, r"stages\[0\]"),
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
