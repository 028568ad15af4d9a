"""All six types of task on sets of one's own."""

from pathlib import Path

import polars as pl
import pytest

from conan_assets.evaluation.metrics import METRICS, TYPES
from conan_assets.evaluation.run import evaluate_baseline, evaluate_encoder
from conan_assets.evaluation.settings import EvaluationError, FolderSuite, LocalSuite
from conan_assets.evaluation.suites import evaluation_queries, suite_tasks
from conan_assets_tests.evaluation.conftest import bm25

SENTENCES = ["aaa bbb", "ccc ddd", "111 222", "333 444", "zzz yyy xxx", "qqq", "ppp ooo nnn", "555 666 777"]

NOTHING = pl.DataFrame()


@pytest.fixture
def folders(tmp_path) -> Path:
    pairs = [(first, second) for first in SENTENCES for second in SENTENCES]
    same_kind = [float(first[0].isdigit() == second[0].isdigit()) for first, second in pairs]
    sts = pl.DataFrame(pairs, schema=["sentence1", "sentence2"], orient="row").with_columns(score=pl.Series(same_kind))
    texts = pl.DataFrame({"text": [f"{text} {n}" for text in SENTENCES for n in range(10)]})
    labelled = texts.with_columns(
        label=pl.when(pl.col("text").str.contains(r"^\d")).then(pl.lit("n")).otherwise(pl.lit("w"))
    )
    for name, frame in (("sts", sts), ("pairs", sts), ("topics", labelled), ("groups", labelled)):
        (tmp_path / name).mkdir()
        for split in ("train", "test"):
            frame.write_parquet(tmp_path / name / f"{split}.parquet")
    return tmp_path


def suites_of(folders: Path) -> dict:
    tasks = {"sts": "sts", "pairs": "pair_classification", "topics": "classification", "groups": "clustering"}
    suites = {name: FolderSuite(kind="folder", path=folders / name, task=task) for name, task in tasks.items()}
    return {
        **suites,
        "search": LocalSuite(dataset="python"),
        "rerank": LocalSuite(dataset="python", task="reranking", candidates=5),
    }


@pytest.mark.slow
def test_all_six_types_of_task_are_scored_by_their_main_metric(encoder, store, corpus, pairs, folders, tmp_path):
    report = evaluate_encoder(
        encoder, store, suites_of(folders), corpus, pairs, tmp_path / "work", tmp_path / "finished", dims=(16,)
    )
    main = {row.type: row.metric for row in report.rows if row.main}
    assert main == {
        "STS": "cosine_spearman",
        "PairClassification": "cosine_ap",
        "Classification": "accuracy",
        "Clustering": "v_measure",
        "Retrieval": "ndcg_at_10",
        "Reranking": "map_at_1000",
    }
    values = {row.type: row.value for row in report.rows if row.main}
    assert values["Classification"] > 0.8
    assert values["PairClassification"] > 0.55
    assert {(row.type, row.metric, row.dim) for row in report.lengths} == {(*pair, 16) for pair in main.items()}


@pytest.mark.slow
def test_the_metrics_that_a_profile_may_choose_by_are_those_of_the_report(
    encoder, store, corpus, pairs, folders, tmp_path
):
    suites = suites_of(folders)
    report = evaluate_encoder(encoder, store, suites, corpus, pairs, tmp_path / "work", tmp_path / "finished")
    for name, suite in suites.items():
        assert {row.metric for row in report.rows if row.suite == name} == set(METRICS[TYPES[suite.task]])


def test_reranking_puts_only_the_candidates_in_order(encoder, store, corpus, pairs, folders, tmp_path):
    suites = {"rerank": suites_of(folders)["rerank"]}
    evaluate_encoder(encoder, store, suites, corpus, pairs, tmp_path / "work", tmp_path / "finished")
    queries = pl.read_parquet(tmp_path / "work" / "per_query.parquet")
    assert queries["found"].list.len().is_between(5, 6).all()
    for expected, found in queries.select("expected", "found").iter_rows():
        assert set(expected) <= set(found)


def test_bm25_runs_what_it_can_and_leaves_the_rest(corpus, pairs, folders, tmp_path):
    report = evaluate_baseline(bm25(), suites_of(folders), corpus, pairs, tmp_path / "work", tmp_path / "finished")
    assert {row.suite for row in report.rows} == {"search", "rerank"}


def test_all_texts_of_a_folder_are_kept_out_of_the_training_data(folders, pairs):
    texts = evaluation_queries({"sts": suites_of(folders)["sts"]}, pairs)
    assert set(SENTENCES) <= set(texts)


def test_a_missing_file_or_column_is_named(folders, corpus, pairs, tmp_path):
    suite = FolderSuite(kind="folder", path=folders / "sts", task="sts", splits=("dev",))
    with pytest.raises(EvaluationError, match=r"suite 'x': .*sts holds no file dev \(\.parquet, \.jsonl, \.csv"):
        evaluate_baseline(bm25(), {"x": suite}, corpus, pairs, tmp_path, tmp_path / "finished")
    wrong = FolderSuite(kind="folder", path=folders / "topics", task="sts")
    with pytest.raises(EvaluationError, match="lacks the column 'sentence1'; it has text, label"):
        evaluate_baseline(bm25(), {"x": wrong}, corpus, pairs, tmp_path, tmp_path / "finished")


ROWS = {
    "sentence1": SENTENCES,
    "sentence2": SENTENCES[::-1],
    "score": [float(number) for number in range(8)],
    "text": SENTENCES,
    "label": ["a", "b"] * 4,
}


@pytest.mark.parametrize(
    ("task", "columns", "message"),
    [
        ("sts", {"score": ["high", "low"] * 4}, r": row 1: column score \('high'\) is not a number"),
        ("pair_classification", {"score": [0.5, 1] * 4}, ": column score must hold 0 and 1"),
        (
            "pair_classification",
            {"score": [1] * 8},
            ".*the same everywhere; nothing can be told apart",
        ),
        ("sts", {"score": [float("nan")] * 8}, r": row 1 .*: column score \(nan\) is not a finite number"),
        ("sts", {"score": [2.0] * 8}, ": column score holds the same everywhere"),
        ("sts", {"score": [1, None] * 4}, ": row 2 .*: column score is empty"),
        ("classification", {"label": ["a"] * 8}, ": column label holds the same everywhere"),
        ("clustering", {"label": [[0], [1]] * 4}, ": row 1: column label holds a list, not a text"),
    ],
)
def test_values_that_no_metric_can_be_computed_from_are_named(task, columns, message, tmp_path):
    pl.DataFrame({**ROWS, **columns}, strict=False).write_parquet(tmp_path / "test.parquet")
    pl.DataFrame(ROWS).write_parquet(tmp_path / "train.parquet")
    suite = FolderSuite(kind="folder", path=tmp_path, task=task)
    with pytest.raises(EvaluationError, match=rf"^suite 'x': {tmp_path}/test\.parquet{message}"):
        suite_tasks({"x": suite}, NOTHING, NOTHING)


def test_a_file_without_rows_is_named(tmp_path):
    pl.DataFrame(ROWS).clear().write_parquet(tmp_path / "test.parquet")
    with pytest.raises(EvaluationError, match=r"test\.parquet has columns and no row"):
        suite_tasks({"x": FolderSuite(kind="folder", path=tmp_path, task="sts")}, NOTHING, NOTHING)


def test_a_number_and_its_text_are_the_same_score_and_the_same_label(tmp_path):
    for split, values in (("train", [0, 1]), ("test", ["0", "1"])):
        pl.DataFrame({**ROWS, "label": values * 4, "score": values * 4}).write_parquet(tmp_path / f"{split}.parquet")
    for task, column in (("classification", "label"), ("sts", "score")):
        suite = FolderSuite(kind="folder", path=tmp_path, task=task, splits=("train", "test"))
        (part,) = suite_tasks({"x": suite}, NOTHING, NOTHING)
        part.task.load_data()
        assert part.task.dataset["train"][column] == part.task.dataset["test"][column]


@pytest.mark.slow
@pytest.mark.parametrize("labels", [[True, False], [0, 1], [0.0, 1.0], ["no", "yes"]])
def test_labels_may_be_texts_numbers_or_truth_values(labels, encoder, store, tmp_path):
    for split in ("train", "test"):
        pl.DataFrame({**ROWS, "label": labels * 4}).write_parquet(tmp_path / f"{split}.parquet")
    for task in ("classification", "clustering"):
        suites = {"x": FolderSuite(kind="folder", path=tmp_path, task=task)}
        report = evaluate_encoder(encoder, store, suites, NOTHING, NOTHING, tmp_path / "work", tmp_path / "finished")
        assert all(0 <= row.value <= 1 for row in report.rows)
