"""Suites, their tasks, and the queries that must not be trained on."""

import polars as pl
import pytest
from pydantic import TypeAdapter, ValidationError

from conan_assets.evaluation.local_tasks import content_hash
from conan_assets.evaluation.settings import EvaluationError, LocalSuite, MtebSuite, SuiteSettings
from conan_assets.evaluation.suites import evaluation_queries, require_measured, suite_tasks

SUITE = TypeAdapter(SuiteSettings)


def test_the_kind_decides_which_settings_a_suite_has():
    assert isinstance(SUITE.validate_python({"kind": "local", "dataset": "python"}), LocalSuite)
    assert isinstance(SUITE.validate_python({"kind": "mteb", "benchmark": "BEIR"}), MtebSuite)
    with pytest.raises(ValidationError, match="Extra inputs"):
        SUITE.validate_python({"kind": "mteb", "benchmark": "BEIR", "dataset": "python"})
    with pytest.raises(ValidationError, match="kind"):
        SUITE.validate_python({"dataset": "python"})


def test_the_evaluation_queries_are_those_of_the_suites_splits_judged_or_not_relevant(pairs):
    suites = {"docs": LocalSuite(dataset="python", splits=("dev", "test"))}
    texts = evaluation_queries(suites, pairs)
    expected = pairs.filter(pl.col("split").is_in(["dev", "test"]), pl.col("dataset") == "python")["query"]
    assert texts == sorted(set(expected))
    assert "nobody knows this" in texts
    assert "train on sorting" not in texts


def test_queries_that_cannot_be_read_cannot_be_kept_out(pairs):
    suites = {"hub": MtebSuite(kind="mteb", benchmark="NanoBEIR", tasks=("NanoNQRetrieval",))}
    with pytest.raises(EvaluationError, match="NanoNQRetrieval cannot be loaded"):
        evaluation_queries(suites, pairs)


def test_a_benchmark_has_all_its_tasks_and_an_aggregate_its_parts(corpus, pairs):
    tasks = suite_tasks({"beir": MtebSuite(kind="mteb", benchmark="BEIR")}, corpus, pairs)
    parts = [part.name for part in tasks if part.part_of == "CQADupstackRetrieval"]
    assert len(parts) == 12
    assert len(tasks) == 14 + 12


@pytest.mark.parametrize(
    ("tasks", "split", "metric", "there_is"),
    [
        ((), "validation", "ndcg_at_10", r"dev: map_at_1000, .*ndcg_at_10.*; test: map_at_1000, "),
        ((), "test", "ndcg@10", r"dev: map_at_1000, .*; test: map_at_1000, "),
        (("SciFact", "NFCorpus"), "dev", "ndcg_at_10", "test: map_at_1000, mrr_at_10, ndcg_at_10, recall_at_100$"),
    ],
)
def test_a_dev_metric_that_no_task_of_a_benchmark_has_is_refused_with_those_that_they_have(
    tasks, split, metric, there_is
):
    suite = MtebSuite(kind="mteb", benchmark="BEIR", tasks=tasks)
    with pytest.raises(EvaluationError, match=rf"no task of suite 'en' has {metric} on split '{split}'.*{there_is}"):
        require_measured("en", suite, split, metric)


def test_a_dev_metric_is_told_by_how_many_tasks_of_a_benchmark_it_is_measured(caplog):
    caplog.set_level("INFO")
    for split in ("dev", "test"):
        require_measured("en", MtebSuite(kind="mteb", benchmark="BEIR"), split, "ndcg_at_10")
    counts = [record.getMessage() for record in caplog.records if "dev metric" in record.getMessage()]
    assert [message.split(" tasks")[0] for message in counts] == ["1 of 26", "25 of 26"]


def test_unloading_a_task_leaves_the_next_run_a_whole_one(corpus, pairs):
    suites = {"cmteb": MtebSuite(kind="mteb", benchmark="MTEB(cmn, v1)", tasks=("STSB",))}
    (first,) = suite_tasks(suites, corpus, pairs)
    first.task.dataset, first.task.data_loaded = {}, True
    first.task.unload_data()
    (second,) = suite_tasks(suites, corpus, pairs)
    assert second.task is not first.task
    assert not second.task.data_loaded


def test_the_content_hash_changes_with_every_value_and_with_where_one_value_ends():
    frame = pl.DataFrame({"a": ["xy", "z"], "b": ["1", None]})
    others = [
        pl.DataFrame({"a": ["x", "yz"], "b": ["1", None]}),
        pl.DataFrame({"a": ["xy", "z"], "b": ["1", ""]}),
        pl.DataFrame({"a": ["xy", "z"], "c": ["1", None]}),
        frame.reverse(),
    ]
    assert len({content_hash([each]) for each in (frame, *others)}) == 5
    assert content_hash([frame.clone()]) == content_hash([frame])
