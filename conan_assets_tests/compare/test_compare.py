import json
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from conan_assets.__main__ import main
from conan_assets.compare.run import QUERY, Run, run_all
from conan_assets.compare.table import compared, paired_interval
from conan_assets.compare.ways import Comparison, load_comparison, overridden, programme
from conan_assets.encoding.models import DEMO_MODEL, ModelNotFoundError, fingerprint_model, locate_model
from conan_assets.settings import SettingsError
from conan_assets_tests.defs.conftest import programme as miniature
from conan_assets_tests.defs.conftest import write_beir_folder

WAYS = {"no veto": {"rounds": 1, "mining": {"veto": []}}, "two rounds": {}}


@pytest.fixture
def profile(tmp_path: Path, tiny_model: str) -> Path:
    """A profile of two rounds on 64 documents."""
    write_beir_folder(tmp_path / "animals")
    settings = miniature(tmp_path / "animals", tiny_model, tmp_path / "home")
    path = tmp_path / "profile.yaml"
    path.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    return path


@pytest.fixture
def ways(tmp_path: Path) -> Path:
    path = tmp_path / "ways.yaml"
    path.write_text(yaml.safe_dump({"steps": 2, "seeds": [0, 1], "ways": WAYS}))
    return path


def run(way: str, seed: int, values: list[float]) -> Run:
    queries = {"task": "t", "subset": "default", "split": "test", "query_id": [str(i) for i in range(len(values))]}
    return Run(way, seed, 2, 1, 10.0 + seed, pl.DataFrame(queries).select(*QUERY, value=pl.Series(values)))


def test_every_way_is_trained_with_every_seed_and_put_in_a_table_and_a_picture(
    profile: Path, ways: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    main(["compare", str(profile), "--ways", str(ways)])
    figures = json.loads((tmp_path / "home" / "comparison" / "comparison.json").read_text())
    lines, runs = figures["differences"], figures["runs"]
    assert [(run["way"], run["seed"]) for run in runs[2:]] == [(way, seed) for seed in (0, 1) for way in WAYS]
    for line in (line for line in lines if line["way"] in WAYS):
        of_seeds = [run[line["split"]] for run in runs if run["way"] == line["way"]]
        assert line["value"] == pytest.approx(sum(of_seeds) / 2)
    assert [line["way"] for line in lines if line["split"] == "test"] == ["BM25", "base model", *WAYS]
    assert {line["seeds"] for line in lines if line["way"] in WAYS} == {2}
    assert all(line["low"] <= line["difference"] <= line["high"] for line in lines)
    table = (tmp_path / "home" / "comparison" / "comparison.md").read_text()
    assert capsys.readouterr().out == table
    assert [row.split(" | ")[0] for row in table.splitlines()[2:]] == [
        f"| {name}" for name in ("BM25", "base model", *WAYS)
    ]
    assert (tmp_path / "home" / "comparison" / "comparison.png").stat().st_size > 0


def test_sentence_transformers_own_recipe_is_one_of_the_ways(profile: Path, tmp_path: Path):
    try:
        locate_model(DEMO_MODEL)
    except ModelNotFoundError:
        pytest.skip(f"the weights of {DEMO_MODEL} are not there")
    values = yaml.safe_load(profile.read_text())
    profile.write_text(yaml.safe_dump(values | {"base_model": {"model": DEMO_MODEL, "max_tokens": 32}}))
    comparison = Comparison(steps=2, seeds=[0], ways={"theirs": "sentence_transformers", "ours": {"rounds": 1}})
    runs = {run.way: run for run in run_all(str(profile), comparison, False, tmp_path / "home")}
    assert runs["theirs"].seconds > 0
    assert runs["theirs"].scores["query_id"].to_list() == runs["ours"].scores["query_id"].to_list()
    (trained,) = (tmp_path / "home" / "sentence_transformers").glob("*/model")
    assert fingerprint_model(str(trained)) != fingerprint_model(DEMO_MODEL)


def test_a_miner_that_leaves_nothing_to_train_on_is_told(profile: Path, tmp_path: Path):
    comparison = Comparison(steps=2, seeds=[0], ways={"theirs": "sentence_transformers", "ours": {}})
    with pytest.raises(SettingsError, match="leaves none of"):
        list(run_all(str(profile), comparison, False, tmp_path / "home"))


def test_what_an_ended_comparison_has_finished_is_not_made_again(profile: Path, ways: Path, tmp_path: Path):
    comparison = load_comparison(str(ways), {})
    before = list(islice(run_all(str(profile), comparison, False, tmp_path / "home"), 5))
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "home").rglob("model.safetensors")}
    assert finished
    after = list(run_all(str(profile), comparison, False, tmp_path / "home"))
    assert all(path.stat().st_mtime_ns == made for path, made in finished.items())
    for earlier, later in zip(before, after, strict=False):
        assert earlier.seconds == later.seconds
        assert earlier.scores.equals(later.scores)


def test_with_equal_seconds_a_slower_way_gets_fewer_steps(profile: Path, tmp_path: Path):
    comparison = Comparison(steps=4, seeds=[0], ways={"one round": {"rounds": 1}, "two rounds": {"rounds": 2}})
    runs = list(run_all(str(profile), comparison, True, tmp_path / "home"))[2:]
    assert runs[0].steps == 4
    trial = next(run for run in run_all(str(profile), comparison, False, tmp_path / "home") if run.way == "two rounds")
    assert runs[1].steps == max(2, round(4 * runs[0].seconds / trial.seconds))


def test_rounds_share_the_steps_and_seeds_reach_mining_and_training(profile: Path, tmp_path: Path):
    settings = programme(str(profile), "a way", {"training": {"learning_rate": 0.5}}, 8, 3, tmp_path)
    assert settings.training[0].max_steps == 4
    assert settings.training[0].seed == settings.mining.seed == 3
    assert settings.training[0].learning_rate == 0.5
    assert settings.training[0].retrieval_batch_size == 4


def test_a_wrong_way_is_named(profile: Path, tmp_path: Path):
    with pytest.raises(SettingsError, match=r"(?s)the way 'typo'.*mining.vetto"):
        programme(str(profile), "typo", {"mining": {"vetto": []}}, 8, 0, tmp_path)
    with pytest.raises(SettingsError, match="2 rounds and 1 steps"):
        programme(str(profile), "short", {}, 1, 0, tmp_path)


@pytest.mark.parametrize("name", ["default", "conan", "nv_retriever"])
def test_the_shipped_ways_fit_the_demo(name: str, tmp_path: Path):
    comparison = load_comparison(name, {"seeds": [7]})
    for way, overrides in comparison.ways.items():
        assert programme("demo", way, overrides, comparison.steps, 7, tmp_path).training[0].seed == 7


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("ways: {a: {}}", "ways"),
        ("ways: {a: {}, b: {training: {max_steps: 3}}}", "training.max_steps"),
        ("ways: {a: {}, b: flair}", "sentence_transformers"),
        ("ways: [", "cannot be read"),
    ],
)
def test_a_wrong_file_of_ways_is_refused(content: str, message: str, tmp_path: Path):
    path = tmp_path / "ways.yaml"
    path.write_text(content)
    with pytest.raises(SettingsError, match=message):
        load_comparison(str(path), {})


def test_settings_are_overridden_key_by_key_and_lists_as_a_whole():
    values = {"mining": {"veto": [1, 2], "depth": 5}, "rounds": 2}
    assert overridden(values, {"mining": {"veto": [3]}}) == {"mining": {"veto": [3], "depth": 5}, "rounds": 2}
    assert values["mining"]["veto"] == [1, 2]


def test_differences_are_paired_by_seed_and_query():
    runs = [run("a", 0, [0.1, 0.9]), run("b", 0, [0.2, 1.0]), run("a", 1, [0.3, 0.5]), run("b", 1, [0.4, 0.6])]
    _, line = compared(runs, "a")
    assert (line.way, line.seeds, line.queries) == ("b", 2, 2)
    assert line.value == pytest.approx(55)
    assert line.difference == pytest.approx(10)
    assert (line.low, line.high) == (pytest.approx(10), pytest.approx(10))


def test_the_interval_is_wider_where_seeds_disagree():
    queries = np.random.default_rng(0).normal(size=(1, 200))
    agreeing, disagreeing = np.repeat(queries, 3, axis=0), queries + np.array([[-1.0], [0.0], [1.0]])
    narrow, wide = paired_interval(agreeing), paired_interval(disagreeing)
    assert wide[1] - wide[0] > narrow[1] - narrow[0]
