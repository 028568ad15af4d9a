"""Means of benchmarks by name of their convention, and published lines."""

import mteb
import pytest

from conan_assets.evaluation.conventions import AS_BEIR, AS_MTEB, AS_PUBLISHED, benchmark_tables, task_scores
from conan_assets.evaluation.published import BEIR_MEANS, CMTEB_MEANS, CONAN_V1, NV_RETRIEVER_V1
from conan_assets.evaluation.settings import MtebSuite
from conan_assets.evaluation.suites import suite_tasks

CMTEB = {"zh": MtebSuite(kind="mteb", benchmark="C-MTEB")}
BEIR = {"en": MtebSuite(kind="mteb", benchmark="BEIR")}


def row(task, kind, metric, value, **others):
    return {"suite": "zh", "task": task, "type": kind, "metric": metric, "value": value / 100, **PLACE, **others}


PLACE = {"part_of": None, "subset": "default", "split": "test", "main": True}


def published_rows(corpus, pairs):
    rows = []
    for part in suite_tasks(CMTEB, corpus, pairs):
        kind = part.task.metadata.type
        metric = AS_PUBLISHED.metrics.get(kind, part.task.metadata.main_score)
        split = AS_PUBLISHED.splits.get(part.name, "test")
        rows.append(row(part.name, kind, metric, CONAN_V1[part.name], split=split))
    return rows


def test_the_published_mean_of_conan_comes_out_of_its_published_tasks(corpus, pairs):
    tables = benchmark_tables(published_rows(corpus, pairs), CMTEB)
    means = {line["of"]: line for line in tables["means"] if line["convention"] == "published, 35 tasks"}
    assert means["all 35 tasks"]["mean"] == CMTEB_MEANS["Conan-v1"] == 72.62
    by_type = {"Classification": 75.03, "Clustering": 66.33, "PairClassification": 91.66, "Reranking": 72.76}
    for kind, mean in {**by_type, "Retrieval": 76.67, "STS": 64.18}.items():
        assert means[f"{kind}, tasks that ran"]["mean"] == pytest.approx(mean, abs=0.011)
    assert all(line["ours"] == line["Conan-v1"] for line in tables["beside_published"])


def test_mteb_has_31_tasks_and_they_are_scored_by_their_own_main_metric(corpus, pairs):
    rows = published_rows(corpus, pairs)
    assert len(task_scores(rows, AS_MTEB)) == 31 == len(mteb.get_benchmark("MTEB(cmn, v1)").tasks)
    assert len(task_scores(rows, AS_PUBLISHED)) == 35


def test_the_two_conventions_read_different_metrics_and_splits():
    rows = [
        row("Ocnli", "PairClassification", "max_accuracy", 70),
        row("Ocnli", "PairClassification", "cosine_ap", 80, main=False),
        row("MultilingualSentiment", "Classification", "accuracy", 60, split="validation"),
        row("MultilingualSentiment", "Classification", "accuracy", 70, split="test"),
    ]
    as_mteb = {task: value for (_, task), value in task_scores(rows, AS_MTEB).items()}
    as_published = {task: value for (_, task), value in task_scores(rows, AS_PUBLISHED).items()}
    assert as_mteb == pytest.approx({"Ocnli": 70, "MultilingualSentiment": 65})
    assert as_published == pytest.approx({"Ocnli": 80, "MultilingualSentiment": 60})


def test_a_missing_task_leaves_no_mean(corpus, pairs):
    tables = benchmark_tables(published_rows(corpus, pairs)[1:], CMTEB)
    assert [line["mean"] for line in tables["means"] if line["of"].startswith("all")] == [None, None]


def test_nv_retrievers_published_tasks_are_the_ones_of_beir_and_give_its_mean(corpus, pairs):
    parts = suite_tasks(BEIR, corpus, pairs)
    assert {part.part_of or part.name for part in parts} == set(NV_RETRIEVER_V1)
    rows = [{**row(task, "Retrieval", "ndcg_at_10", value), "suite": "en"} for task, value in NV_RETRIEVER_V1.items()]
    (mean,) = [line["mean"] for line in benchmark_tables(rows, BEIR)["means"] if line["of"] == "all 15 tasks"]
    assert mean == BEIR_MEANS["NV-Retriever-v1"] == AS_BEIR.means["NV-Retriever-v1"]


def test_parts_of_an_aggregate_do_not_count_beside_it():
    rows = [
        row("CQADupstackRetrieval", "Retrieval", "ndcg_at_10", 50),
        row("CQADupstackAndroidRetrieval", "Retrieval", "ndcg_at_10", 40, part_of="CQADupstackRetrieval"),
    ]
    assert task_scores(rows, AS_BEIR) == {("Retrieval", "CQADupstackRetrieval"): 50}


def test_the_added_tasks_run_on_their_chinese_subset_only(corpus, pairs):
    added = [part.task for part in suite_tasks(CMTEB, corpus, pairs)][31:]
    assert [task.hf_subsets for task in added] == [["zh"], ["zh-CN"], ["zh-CN"], ["zh"]]
    assert all(task.eval_splits == ["test"] for task in added)
