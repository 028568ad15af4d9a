"""Means of benchmarks by name of their convention, and published lines."""

import mteb
import pytest

from conan_assets.evaluation.conventions import (
    AS_BEIR,
    AS_MTEB,
    AS_PUBLISHED,
    CMTEB_31,
    benchmark_means,
    beside_published,
    metric_conventions,
    task_scores,
)
from conan_assets.evaluation.published import CMTEB_TYPES, CONAN_V1, NV_EMBED_V2, NV_RETRIEVER_V1, XIAOBU_V2
from conan_assets.evaluation.report import BenchmarkMean, ScoreRow
from conan_assets.evaluation.settings import LocalSuite, MtebSuite
from conan_assets.evaluation.suites import suite_tasks

CMTEB = {"zh": MtebSuite(kind="mteb", benchmark="C-MTEB")}
BEIR = {"en": MtebSuite(kind="mteb", benchmark="BEIR")}
PUBLISHED_MEANS = {"Conan-v1": 72.62, "xiaobu-v2": 72.43}


def row(task, kind, metric, value, **others):
    return ScoreRow(suite="zh", task=task, type=kind, metric=metric, value=value / 100, **(PLACE | others))


PLACE = {"subset": "default", "split": "test", "main": True, "queries": 0}


def published_rows(corpus, pairs):
    rows = []
    for part in suite_tasks(CMTEB, corpus, pairs):
        kind = part.task.metadata.type
        metric = AS_PUBLISHED.metrics.get(kind, part.task.metadata.main_score)
        split = AS_PUBLISHED.splits.get(part.name, "test")
        rows.append(row(part.name, kind, metric, CONAN_V1[part.name], split=split))
    return rows


def means_of(rows, suites, convention):
    means = benchmark_means(rows, suites)
    return {line.of: line for line in means if line.convention == convention.name}


def test_the_published_mean_of_conan_comes_out_of_its_published_tasks(corpus, pairs):
    rows = published_rows(corpus, pairs)
    means = means_of(rows, CMTEB, AS_PUBLISHED)
    assert (means["all"].ours, means["all"].tasks, means["all"].not_run) == (72.62, 35, 0)
    by_type = {"Classification": 75.03, "Clustering": 66.33, "PairClassification": 91.66, "Reranking": 72.76}
    for kind, mean in {**by_type, "Retrieval": 76.67, "STS": 64.18}.items():
        assert means[kind].ours == pytest.approx(mean, abs=0.011)
    beside = beside_published(rows, CMTEB)
    assert all(line.ours == line.published["Conan-v1"] for line in beside if line.convention == AS_PUBLISHED.name)


def test_published_lines_have_the_means_that_were_published_by_both_conventions():
    assert set(CONAN_V1) == set(XIAOBU_V2) == {task for tasks in CMTEB_TYPES.values() for task in tasks}
    every_line = means_of([], CMTEB, AS_PUBLISHED)["all"]
    assert every_line.published == PUBLISHED_MEANS
    as_mteb = means_of([], CMTEB, AS_MTEB)["all"]
    assert (as_mteb.published["Conan-v1"], as_mteb.published["xiaobu-v2"]) == (72.50, 72.36)
    beir = means_of([], BEIR, AS_BEIR)["all"]
    assert (beir.published["NV-Retriever-v1"], beir.published["NV-Embed-v2"]) == (60.90, 62.65)


def test_mteb_has_31_tasks_and_they_are_scored_by_their_own_main_metric(corpus, pairs):
    rows = published_rows(corpus, pairs)
    benchmark = [task.metadata for task in mteb.get_benchmark(CMTEB_31).tasks]
    assert len(task_scores(rows, AS_MTEB)) == 31 == len(benchmark)
    assert len(task_scores(rows, AS_PUBLISHED)) == 35
    kinds = {task: kind for kind, tasks in AS_MTEB.tasks.items() for task in tasks}
    assert {task.name: task.type for task in benchmark} == kinds


def test_the_two_conventions_read_different_metrics_and_splits():
    rows = [
        row("Ocnli", "PairClassification", "max_accuracy", 70),
        row("Ocnli", "PairClassification", "cosine_ap", 80, main=False),
        row("MultilingualSentiment", "Classification", "accuracy", 60, split="validation"),
        row("MultilingualSentiment", "Classification", "accuracy", 70, split="test"),
    ]
    assert task_scores(rows, AS_MTEB) == pytest.approx({"Ocnli": 70, "MultilingualSentiment": 65})
    assert task_scores(rows, AS_PUBLISHED) == pytest.approx({"Ocnli": 80, "MultilingualSentiment": 60})
    named = {(line.type, line.convention): line.metric for line in metric_conventions(rows, CMTEB)}
    assert named["PairClassification", "main metric"] == named["PairClassification", AS_MTEB.name] == "max_accuracy"
    assert named["PairClassification", AS_PUBLISHED.name] == "cosine_ap"


def test_a_suite_that_is_no_benchmark_names_its_main_metric_and_has_no_mean():
    rows = [row("python", "Retrieval", "ndcg_at_10", 50)]
    suites = {"zh": LocalSuite(dataset="python")}
    assert [line.metric for line in metric_conventions(rows, suites)] == ["ndcg_at_10"]
    assert benchmark_means(rows, suites) == beside_published(rows, suites) == []


@pytest.mark.parametrize("alias", ["CMTEB", "MTEB(Chinese)"])
def test_another_name_of_a_benchmark_gives_the_same_means_and_published_lines(alias, corpus, pairs):
    rows = published_rows(corpus, pairs)
    other, expected = ({"zh": MtebSuite(kind="mteb", benchmark=name)} for name in (alias, CMTEB_31))
    assert benchmark_means(rows, other) == benchmark_means(rows, expected)
    assert beside_published(rows, other) == beside_published(rows, expected)
    assert {line.convention for line in beside_published(rows, other)} == {AS_MTEB.name, AS_PUBLISHED.name}


def test_a_benchmark_without_published_lines_has_the_mean_over_its_tasks_unless_one_did_not_run():
    suites = {"zh": MtebSuite(kind="mteb", benchmark="NanoBEIR")}
    names = [task.metadata.name for task in mteb.get_benchmark("NanoBEIR").tasks]
    rows = [row(name, "Retrieval", "ndcg_at_10", value, split="train") for value, name in enumerate(names)]
    place = {"suite": "zh", "convention": "mteb, 13 tasks"}
    for ran, ours in ((13, 6.0), (12, None)):
        line = {**place, "tasks": 13, "not_run": 13 - ran, "ours": ours, "published": {}}
        assert benchmark_means(rows[:ran], suites) == [BenchmarkMean(**line, of=of) for of in ("Retrieval", "all")]
        assert beside_published(rows[:ran], suites) == []


def test_a_missing_task_leaves_no_mean_of_the_benchmark_and_none_of_its_type(corpus, pairs):
    rows = published_rows(corpus, pairs)[1:]
    for convention in (AS_MTEB, AS_PUBLISHED):
        means = means_of(rows, CMTEB, convention)
        assert {of: line.ours for of, line in means.items() if line.not_run} == {"Retrieval": None, "all": None}
        assert all(line.ours is not None for line in means.values() if not line.not_run)


def test_published_lines_stand_beside_tasks_that_did_not_run_but_not_beside_those_not_asked_for():
    suites = {"zh": MtebSuite(kind="mteb", benchmark="C-MTEB", tasks=("STSB", "STS22"))}
    lines = [line for line in beside_published([], suites) if line.convention == AS_PUBLISHED.name]
    assert [(line.task, line.ours, line.published["Conan-v1"]) for line in lines] == [
        ("STSB", None, 81.24),
        ("STS22", None, 67.73),
    ]


def test_published_tasks_of_beir_are_the_ones_of_mteb_and_msmarco_is_scored_on_dev(corpus, pairs):
    parts = suite_tasks(BEIR, corpus, pairs)
    assert {part.part_of or part.name for part in parts} == set(NV_RETRIEVER_V1) == set(NV_EMBED_V2)
    splits = {part.name: list(part.task.eval_splits) for part in parts}
    assert splits.pop("MSMARCO") == ["dev"]
    assert all(each == ["test"] for each in splits.values())


def test_parts_of_an_aggregate_do_not_count_beside_it():
    rows = [
        row("CQADupstackRetrieval", "Retrieval", "ndcg_at_10", 50),
        row("CQADupstackAndroidRetrieval", "Retrieval", "ndcg_at_10", 40, part_of="CQADupstackRetrieval"),
    ]
    assert task_scores(rows, AS_BEIR) == {"CQADupstackRetrieval": 50}


def test_the_added_tasks_run_on_their_chinese_subset_only(corpus, pairs):
    added = [part.task for part in suite_tasks(CMTEB, corpus, pairs)][31:]
    assert [task.hf_subsets for task in added] == [["zh"], ["zh-CN"], ["zh-CN"], ["zh"]]
    assert all(task.eval_splits == ["test"] for task in added)
