"""Reports of which some tasks could not run, and what a round is compared with."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from mteb.abstasks import AbsTaskRetrieval

from conan_assets.artifacts import ArtifactStore
from conan_assets.defs.reports import _references
from conan_assets.evaluation import offline
from conan_assets.evaluation import run as evaluation
from conan_assets.evaluation.report import EvaluationReport, RoundReport, TaskNotRun, parse
from conan_assets.settings import Settings
from conan_assets_tests.defs.conftest import metadata, programme, run, write_beir_folder

pytestmark = pytest.mark.slow

REPORT = "round_0/beir_report"
LONGEST_FIRST = """
import numpy as np
from conan_assets.search.retriever import ExhaustiveRetriever


class LongestFirst(ExhaustiveRetriever):
    def __init__(self, documents, retrievable=None):
        super().__init__(documents, retrievable)
        self.lengths = np.array([len(text) for text in documents], np.float32)

    def scores(self, query):
        return self.lengths
"""


def write_task(folder: Path) -> None:
    """Write a set of four documents and two queries under the name of a stock task."""
    (folder / "qrels").mkdir(parents=True)
    texts = ["apple pie", "blue sky", "cold water", "dark night"]
    pl.DataFrame({"_id": [f"d{i}" for i in range(4)], "title": "", "text": texts}).write_parquet(
        folder / "corpus.parquet"
    )
    pl.DataFrame({"_id": ["q0", "q1"], "text": ["an apple", "the sky"]}).write_parquet(folder / "queries.parquet")
    judged = pl.DataFrame({"query-id": ["q0", "q1"], "corpus-id": ["d0", "d1"], "score": [1, 1]})
    judged.write_parquet(folder / "qrels" / "test.parquet")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that stands for the hub: tasks that are not in it cannot be loaded now.

    A file ``<task>.flake`` fails the next attempt alone.
    """
    folder = tmp_path / "hub"

    def load_data(task: AbsTaskRetrieval, *_: object, **__: object) -> None:
        flake = folder / f"{task.metadata.name}.flake"
        if not (folder / task.metadata.name).is_dir() or flake.exists():
            flake.unlink(missing_ok=True)
            raise ConnectionError("the hub is away")
        offline._fill(task, folder / task.metadata.name)

    monkeypatch.setattr(AbsTaskRetrieval, "load_data", load_data)
    write_task(folder / "SciFact")
    return folder


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the tasks that were really run, in order."""
    names: list[str] = []
    really_run = evaluation._run

    def counted(model, task, finished):
        names.append(task.metadata.name)
        return really_run(model, task, finished)

    monkeypatch.setattr(evaluation, "_run", counted)
    return names


def with_hub(tmp_path: Path, model: str, **suites: object) -> Settings:
    write_beir_folder(tmp_path / "animals")
    suites["hub"] = {"kind": "mteb", "benchmark": "BEIR", "tasks": ["SciFact", "NFCorpus"]}
    dev_metric = {"suite": "hub", "split": "test"}
    return programme(tmp_path / "animals", model, tmp_path / "home", suites={"beir": suites}, dev_metric=dev_metric)


def test_tasks_that_could_not_be_loaded_are_tried_again_and_finished_ones_are_not_run_again(
    tmp_path: Path, tiny_model: str, hub: Path, evaluated: list[str]
):
    settings = with_hub(tmp_path, tiny_model)

    def materialize() -> tuple[bool, str, list[str]]:
        values = metadata(run(settings, f'+key:"{REPORT}"'))[REPORT]
        report = ArtifactStore(settings.home / "assets").current(REPORT).report
        return values["reused"].value, values["fingerprint"].value, [task["task"] for task in report["not_run"]]

    reused, first, missing = materialize()
    assert (reused, missing, evaluated) == (False, ["NFCorpus"], ["SciFact"] * 3)
    evaluated.clear()
    for _ in range(2 + settings.keep_versions):
        assert materialize() == (False, first, ["NFCorpus"])
    assert evaluated == []
    write_task(hub / "NFCorpus")
    reused, complete, missing = materialize()
    assert (reused, missing, evaluated) == (False, [], ["NFCorpus"] * 3)
    assert complete != first
    assert materialize() == (True, complete, [])


def test_a_task_that_bm25_alone_could_not_load_is_warned_of_and_tried_again_and_what_it_cannot_do_is_not(
    tmp_path: Path, tiny_model: str, hub: Path, evaluated: list[str]
):
    graded = pl.DataFrame({"sentence1": ["a", "b", "c"], "sentence2": ["a", "d", "e"], "score": [3.0, 2.0, 1.0]})
    (tmp_path / "graded").mkdir()
    graded.write_parquet(tmp_path / "graded" / "test.parquet")
    settings = with_hub(tmp_path, tiny_model, sts={"kind": "folder", "path": str(tmp_path / "graded"), "task": "sts"})
    write_task(hub / "NFCorpus")
    (hub / "NFCorpus.flake").touch()

    def materialize() -> tuple[bool, list[dict[str, str]]]:
        result = run(settings, f'+key:"{REPORT}"')
        (check,) = [found for found in result.get_asset_check_evaluations() if found.check_name == "every_task_ran"]
        missing = check.metadata["not_run"].value
        assert check.passed == (not missing)
        return metadata(result)[REPORT]["reused"].value, missing

    reused, (missing,) = materialize()
    assert not reused
    assert (missing["model"], missing["suite"], missing["task"]) == ("bm25", "hub", "NFCorpus")
    assert "the hub is away" in missing["reason"]
    evaluated.clear()
    assert materialize() == (False, [])
    assert evaluated == ["NFCorpus"]
    assert materialize() == (True, [])


def test_a_class_of_ones_own_is_a_baseline_that_the_leaderboard_shows(
    tmp_path: Path, tiny_model: str, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "longest_first.py").write_text(LONGEST_FIRST)
    monkeypatch.syspath_prepend(tmp_path)
    write_beir_folder(tmp_path / "animals")
    teachers = {"longest": {"kind": "python", "retriever": "longest_first:LongestFirst"}}
    changes = {"teachers": teachers, "mining": {}, "baselines": ["longest"]}
    settings = programme(tmp_path / "animals", tiny_model, tmp_path / "home", **changes)
    run(settings, f'+key:"{REPORT}"')
    report = parse(RoundReport, ArtifactStore(settings.home / "assets").current(REPORT).report, REPORT)
    assert list(report.baselines) == ["longest"]
    assert report.hybrid is None
    assert {row.metric for row in report.baselines["longest"].rows} >= {"ndcg_at_10"}
    assert (ArtifactStore(settings.home / "assets").current(REPORT).path / "longest_per_query.parquet").is_file()


def test_tasks_that_the_base_model_beside_a_pretrained_round_lacks_are_tried_again():
    missing = {"suite": "hub", "task": "NFCorpus", "reason": "its data cannot be loaded"}
    scored = {"model": "m", "checkpoint_fingerprint": "f", "rows": [], "mteb_version": "2"}
    one = EvaluationReport(**scored, seconds=0.0, texts_encoded=0)
    complete = RoundReport(**vars(one), baselines={"bm25": one}, base_model=one)
    assert complete.tasks_not_run() == []
    lacking = replace(complete, base_model=replace(one, not_run=[TaskNotRun(**missing)]))
    assert lacking.tasks_not_run() == [{"model": "base_model", **missing}]


def test_a_round_is_compared_with_the_base_model_itself_and_with_the_round_before(miniature: Settings):
    here, first, before = Path("here"), Path("round_0"), Path("round_2")
    assert _references(miniature, 0, here, []) == {}
    assert _references(miniature, 1, here, [first]) == {"base model": first}
    assert _references(miniature, 3, here, [first, before]) == {"base model": first, "previous round": before}
    pretrained = miniature.model_copy(update={"pretraining": miniature.training[0]})
    base = Path("round_0/base_model")
    assert _references(pretrained, 0, here, []) == {"base model": here / "base_model"}
    assert _references(pretrained, 1, here, [first]) == {"base model": base, "previous round": first}
    assert _references(pretrained, 3, here, [first, before]) == {"base model": base, "previous round": before}
