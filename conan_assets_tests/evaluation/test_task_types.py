"""All six types of task on sets of one's own."""

from pathlib import Path

import polars as pl
import pytest

from conan_assets.evaluation.errors import EvaluationError
from conan_assets.evaluation.run import evaluate_bm25, evaluate_encoder
from conan_assets.evaluation.settings import FolderSuite, LocalSuite
from conan_assets.evaluation.suites import evaluation_queries

SENTENCES = ["aaa bbb", "ccc ddd", "111 222", "333 444", "zzz yyy xxx", "qqq", "ppp ooo nnn", "555 666 777"]


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


def test_all_six_types_of_task_are_scored_by_their_main_metric(encoder, store, corpus, pairs, folders, tmp_path):
    report = evaluate_encoder(
        encoder, store, suites_of(folders), corpus, pairs, tmp_path / "work", tmp_path / "finished"
    )
    main = {row["type"]: row["metric"] for row in report["rows"] if row["main"]}
    assert main == {
        "STS": "cosine_spearman",
        "PairClassification": "cosine_ap",
        "Classification": "accuracy",
        "Clustering": "v_measure",
        "Retrieval": "ndcg_at_10",
        "Reranking": "map_at_1000",
    }
    values = {row["type"]: row["value"] for row in report["rows"] if row["main"]}
    assert values["Classification"] > 0.8
    assert values["PairClassification"] > 0.55


def test_reranking_puts_only_the_candidates_in_order(encoder, store, corpus, pairs, folders, tmp_path):
    suites = {"rerank": suites_of(folders)["rerank"]}
    evaluate_encoder(encoder, store, suites, corpus, pairs, tmp_path / "work", tmp_path / "finished")
    queries = pl.read_parquet(tmp_path / "work" / "per_query.parquet")
    assert queries["found"].list.len().is_between(5, 6).all()
    for expected, found in queries.select("expected", "found").iter_rows():
        assert set(expected) <= set(found)


def test_bm25_runs_what_it_can_and_leaves_the_rest(corpus, pairs, folders, tmp_path):
    report = evaluate_bm25(suites_of(folders), corpus, pairs, tmp_path / "work", tmp_path / "finished")
    assert {row["suite"] for row in report["rows"]} == {"search", "rerank"}


def test_all_texts_of_a_folder_are_kept_out_of_the_training_data(folders, pairs):
    texts = evaluation_queries({"sts": suites_of(folders)["sts"]}, pairs)
    assert set(SENTENCES) <= set(texts)


def test_a_missing_file_or_column_is_named(folders, corpus, pairs, tmp_path):
    suite = FolderSuite(kind="folder", path=folders / "sts", task="sts", splits=("dev",))
    with pytest.raises(EvaluationError, match=r"suite 'x': .*sts holds no file dev \(\.parquet, \.jsonl\)"):
        evaluate_bm25({"x": suite}, corpus, pairs, tmp_path, tmp_path / "finished")
    wrong = FolderSuite(kind="folder", path=folders / "topics", task="sts")
    with pytest.raises(EvaluationError, match="lacks the column 'sentence1'; it has text, label"):
        evaluate_bm25({"x": wrong}, corpus, pairs, tmp_path, tmp_path / "finished")
