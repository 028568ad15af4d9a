import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from conan_assets.settings import Settings, SettingsError, load_settings
from conan_assets.settings.shipped import PROFILES
from conan_assets_tests.processes import ROOT, make

DEMO = yaml.safe_load((PROFILES / "demo.yaml").read_text())
STS = {"kind": "folder", "path": "/data/sts", "task": "sts"}


def write(tmp_path: Path, **changes: object) -> str:
    path = tmp_path / "profile.yaml"
    path.write_text(yaml.safe_dump({**DEMO, **changes}))
    return str(path)


@pytest.mark.parametrize("profile", sorted(path.stem for path in PROFILES.glob("*.yaml")))
def test_every_shipped_profile_is_valid(profile: str):
    assert load_settings(profile, {}).name == profile


def test_the_profile_comes_from_the_environment_and_is_demo_by_default(tmp_path: Path):
    assert load_settings(environment={}).name == "demo"
    assert load_settings(environment={"CONAN_PROFILE": write(tmp_path, name="mine")}).name == "mine"


def test_conan_home_overrides_the_storage_root(tmp_path: Path):
    assert load_settings("demo", {}).home == Path("conan_home")
    assert load_settings("demo", {"CONAN_HOME": str(tmp_path)}).home == tmp_path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"roundz": 2}, "roundz: unknown key; accepted here: architecture, base_model, baselines, "),
        ({"training": {"stepz": 2}}, r"training\.stepz: unknown key; accepted here: .*batch_size"),
        ({"training": [{}, {"stepz": 2}]}, r"training\.1\.stepz: unknown key"),
        ({"mining": {"dept": 2}}, r"mining\.dept: unknown key; accepted here: .*depth"),
        (
            {"teachers": {"bm25": {"kind": "bm25", "k": 2}}},
            r"teachers\.bm25\.bm25\.k: unknown key; accepted here: .*depth",
        ),
        ({"rounds": "two"}, r"rounds: Input should be a valid integer.*, not 'two'"),
        ({"rounds": 0}, r"rounds: Input should be greater than or equal to 1, not 0"),
        ({"start_from": "nowhere"}, r"start_from: Input should be 'previous_round', 'base_model' or .*, not 'nowhere'"),
        ({"sources": {"x": {"kind": "ftp"}}}, r"sources\.x: .*'python_docs', 'documents', .*'beir'.*"),
        (
            {"mining": {"veto": [{"rule": "top_k_abs", "ratiox": 1}]}},
            r"ratiox: unknown key; accepted here: .*threshold",
        ),
        ({"sources": {"x": {}}}, r"sources\.x: the key 'kind' is missing; it chooses one of .*beir"),
        ({"sources": {"a:b": {"kind": "python_docs"}}}, r"sources\.a:b"),
        ({"teachers": {"student": {"kind": "bm25"}}}, r"a teacher is called 'student'"),
        ({"mining": {"judge": {}}}, r"mining\.judge asks an LLM: set generation\.kind"),
        ({"rounds": True}, r"rounds: Input should be a valid integer"),
        (
            {"dev_metric": {"suite": "python_docs", "split": "train"}},
            r"split is 'train'; the suite's splits are dev, test",
        ),
        ({"suites": {**DEMO["suites"], "cmteb": DEMO["suites"]["beir"]}}, r"two suites are called 'python_docs'"),
        ({"dev_metric": {"suite": "nope"}}, r"dev_metric\.suite is 'nope'; the suites are python_docs"),
        (
            {"dev_metric": {"suite": "python_docs", "metric": "ndcg@10"}},
            r"metric is 'ndcg@10'; the suite's metrics are map_at_1000, mrr_at_10, ndcg_at_10, recall_at_100",
        ),
        (
            {"suites": {"cmteb": {"graded": {**STS, "splits": ["dev"]}}}, "dev_metric": {"suite": "graded"}},
            r"metric is 'ndcg_at_10'; the suite's metrics are cosine_pearson, cosine_spearman",
        ),
        (
            {"suites": {"cmteb": {"search": {**STS, "task": "retrieval", "splits": ["validation"]}}}},
            r"search\.folder\.splits: retrieval reads BEIR layout, .* are train, dev, test, not \['validation'\]",
        ),
        ({"teachers": {}}, r"mining names the teacher 'bm25'"),
        (
            {"architecture": {"lora": {}}, "training": [{"dtype": "bfloat16"}, {"dtype": "float32"}]},
            r"lora adapts weights rounded to one dtype, and the stages have bfloat16 and float32",
        ),
        (
            {"mining": {"candidates": ["bm25"], "depth": 101}},
            r"takes 101 candidates of 'bm25', which scores 100 per query: raise teachers\.bm25\.depth",
        ),
        (
            {"mining": {"pool_depth": 4}, "training": {"negatives_per_query": 5}},
            r"asks for 5 negatives per query and mining keeps 4: raise mining\.pool_depth",
        ),
        (
            {"launch": {"processes": 2}, "training": {"sts_processes": 2}},
            r"sts_processes is 2 and launch\.processes 2: give fewer",
        ),
        ({"launch": {"shard_weights": True}}, r"among processes, and there is one: set launch\.processes"),
        (
            {"architecture": {"head_dim": 256}, "training": {"matryoshka_dims": [64, 512]}},
            r"matryoshka_dims names 512, and the model's embeddings have 256 components",
        ),
        (
            {"suites": {"cmteb": {"graded": {**STS, "path": "s3://key:secret@bucket/x"}}}},
            r"graded\.folder\.path: is a URL; give a folder of this machine.*, not 's3://\*\*\*@bucket/x'",
        ),
        (
            {"suites": {"beir": {"x": {"kind": "mteb", "benchmark": "BEIR", "folder": "https://host/x?sig=secret"}}}},
            r"x\.mteb\.folder: is a URL; .*, not 'https://host/x\?\*\*\*'",
        ),
        (
            {"catalogue": {"repository": "https://host/a?private_token=secret"}},
            r"catalogue\.repository: String should match .*, not 'https://host/a\?\*\*\*'",
        ),
        (
            {"home": "ftp://host/home"},
            r"home: is a URL; give a folder .* or a bucket's address, s3://bucket/prefix.*, not 'ftp",
        ),
        ({"home": "s3:/bucket/home"}, r"home: is a URL; give .*, not 's3:/bucket/home'"),
        ({"home": "s3://key:secret@bucket"}, r"home: holds credentials; .* environment, not 's3://\*\*\*@bucket'"),
        (
            {"base_model": {"model": "m", "max_tokens": 64, "max_query_tokens": 96}},
            "base_model.max_query_tokens is 96, above base_model.max_tokens, 64",
        ),
        ({"base_model": {"model": "m", "max_tokens": 0}}, r"base_model\.max_tokens|base_model: max_tokens is 0"),
    ],
)
def test_a_wrong_setting_is_named_with_its_profile_and_what_is_accepted(tmp_path: Path, changes: dict, message: str):
    profile = write(tmp_path, **changes)
    with pytest.raises(SettingsError, match=message) as caught:
        load_settings(profile, {})
    assert profile in str(caught.value)


def test_a_wrong_key_of_training_is_the_only_problem_that_is_told(tmp_path: Path):
    with pytest.raises(SettingsError) as caught:
        load_settings(write(tmp_path, training={"stepz": 2}), {})
    assert len(str(caught.value).splitlines()) == 2


def test_a_home_of_the_environment_that_is_a_url_of_no_bucket_is_refused():
    with pytest.raises(SettingsError, match=r"home: is a URL"):
        load_settings("demo", {"CONAN_HOME": "https://bucket/home"})


@pytest.mark.parametrize("address", ["s3://bucket", "gs://bucket/a/b", "az://container/home"])
def test_a_home_in_a_bucket_has_a_working_copy_of_its_own_below_the_cache(address, tmp_path, monkeypatch):
    monkeypatch.setenv("CONAN_CACHE", str(tmp_path))
    settings = load_settings("demo", {"CONAN_HOME": f"{address}/"})
    assert settings.home == address
    assert settings.root.parent == tmp_path
    assert settings.root != load_settings("demo", {"CONAN_HOME": f"{address}/other"}).root
    assert not settings.root.exists()


def test_a_missing_profile_names_the_shipped_ones():
    with pytest.raises(SettingsError, match=r"no profile 'nowhere'.*demo"):
        load_settings("nowhere", {})


def test_a_profile_that_is_not_yaml_is_named(tmp_path: Path):
    path = tmp_path / "broken.yaml"
    path.write_text("a: [")
    with pytest.raises(SettingsError, match="cannot be read as YAML"):
        load_settings(str(path), {})


@pytest.mark.slow
@pytest.mark.parametrize("text", ["name: a\nrounds: 1\nrounds: 2\n", "name: a\nsources: {x: {}, y: {}, x: {}}\n"])
def test_a_key_that_a_profile_gives_twice_is_named_with_its_line(tmp_path: Path, text: str):
    (tmp_path / "mine.yaml").write_text(text)
    key, line = ("rounds", 3) if "rounds" in text else ("x", 2)
    with pytest.raises(SettingsError, match=f"the key '{key}' is there twice\n.*line {line}"):
        load_settings(str(tmp_path / "mine.yaml"), {})


def test_a_ui_of_a_profile_that_is_not_there_is_not_served(tmp_path: Path):
    environment = {**os.environ, "CONAN_HOME": str(tmp_path / "home"), "DAGSTER_HOME": str(tmp_path / "dagster")}
    done = subprocess.run(make("ui", PROFILE="nope.yaml"), cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert "there is no profile 'nope.yaml'" in done.stderr
    assert "The graph" not in done.stdout


def test_the_schema_and_a_check_are_printed_on_the_command_line(tmp_path: Path):
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "conan_assets.settings", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    schema = json.loads(call("--json-schema").stdout)
    assert {"sources", "base_model", "rounds", "mining", "training"} <= set(schema["properties"])
    assert call("demo").returncode == 0
    wrong = call(write(tmp_path, rounds=-1))
    assert wrong.returncode == 1
    assert "rounds" in wrong.stderr


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "x/" * 3000])
def test_a_name_that_can_be_no_file_is_refused_in_a_line_that_one_can_read(name: str):
    with pytest.raises(SettingsError, match="there is no profile") as refused:
        load_settings(name, {})
    assert len(str(refused.value)) < 500


BOUNDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
ANY_NUMBER = {"TopKAbs.threshold"}
"""A teacher's scores may be on any scale."""


def keys_of_the_schema() -> Iterator[tuple[str, dict]]:
    schema = Settings.model_json_schema()
    for name, model in {"Settings": schema, **schema["$defs"]}.items():
        yield from ((f"{name}.{key}", value) for key, value in model.get("properties", {}).items())


def numbers_in(value: dict) -> list[dict]:
    return [variant for variant in value.get("anyOf", [value]) if variant.get("type") in ("number", "integer")]


def test_every_key_is_described():
    assert [name for name, value in keys_of_the_schema() if not ("description" in value or "const" in value)] == []


def test_every_number_has_a_range():
    unbounded = {name for name, value in keys_of_the_schema() if any(not BOUNDS & set(n) for n in numbers_in(value))}
    assert unbounded == ANY_NUMBER
