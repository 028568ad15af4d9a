"""Stock tasks of mteb fed from a folder instead of the hub."""

import errno
from pathlib import Path

import mteb
import polars as pl
import pytest

from conan_assets.data.files import SAMPLES
from conan_assets.data.tables import TableError
from conan_assets.evaluation import offline
from conan_assets.evaluation.report import NO_EMBEDDINGS
from conan_assets.evaluation.run import evaluate_baseline, evaluate_encoder
from conan_assets.evaluation.settings import EvaluationError, FolderSuite, MtebSuite
from conan_assets.evaluation.suites import evaluation_queries, suite_files_fingerprint
from conan_assets_tests.evaluation.conftest import bm25


@pytest.fixture
def mirror(tmp_path) -> Path:
    """Return a folder with tiny sets under the names of stock tasks."""
    words = ["apple pie", "blue sky", "cold water", "dark night"]
    corpus = pl.DataFrame({"_id": [f"d{i}" for i in range(4)], "title": ["", "sky", "", ""], "text": words})
    queries = pl.DataFrame({"_id": ["q0", "q1", "q2"], "text": ["an apple", "the sky", "not judged"]})
    judged = pl.DataFrame({"query-id": ["q0", "q1"], "corpus-id": ["d0", "d1"], "score": [1, 1]})
    listed = pl.DataFrame({"query-id": ["q0", "q1"], "corpus-ids": [["d0", "d3"], ["d2", "d1"]]})
    for name, split in (("SciFact", "test"), ("T2Reranking", "dev")):
        folder = tmp_path / "mirror" / name
        for part in ("qrels", "top_ranked"):
            (folder / part).mkdir(parents=True)
        corpus.write_parquet(folder / "corpus.parquet")
        queries.write_parquet(folder / "queries.parquet")
        judged.write_parquet(folder / "qrels" / f"{split}.parquet")
        listed.write_parquet(folder / "top_ranked" / f"{split}.parquet")
    pairs = pl.DataFrame({"sentence1": words, "sentence2": words[::-1], "score": [0.0, 1.0, 2.0, 5.0]})
    labelled = pl.DataFrame(
        {"text": [f"{word} {n}" for word in words for n in range(10)], "label": [n // 20 for n in range(40)]}
    )
    (tmp_path / "mirror" / "STSB").mkdir()
    pairs.write_parquet(tmp_path / "mirror" / "STSB" / "test.parquet")
    (tmp_path / "mirror" / "Waimai").mkdir()
    for split in ("train", "test"):
        labelled.write_parquet(tmp_path / "mirror" / "Waimai" / f"{split}.parquet")
    return tmp_path / "mirror"


def cmteb(folder, *tasks) -> dict:
    return {"zh": MtebSuite(kind="mteb", benchmark="MTEB(cmn, v1)", tasks=tasks, folder=folder)}


@pytest.mark.slow
def test_stock_tasks_of_every_form_run_from_a_folder(encoder, store, corpus, pairs, mirror, tmp_path):
    suites = {
        **cmteb(mirror, "T2Reranking", "STSB", "Waimai"),
        "en": MtebSuite(kind="mteb", benchmark="BEIR", tasks=("SciFact",), folder=mirror),
    }
    report = evaluate_encoder(encoder, store, suites, corpus, pairs, tmp_path / "work", tmp_path / "finished")
    main = {row.task: row.metric for row in report.rows if row.main}
    assert main == {
        "T2Reranking": "map_at_1000",
        "STSB": "cosine_spearman",
        "Waimai": "accuracy",
        "SciFact": "ndcg_at_10",
    }
    assert report.not_run == []
    assert {line.ours for line in report.means if line.of == "all"} == {None}


def test_tasks_that_did_not_run_are_listed_with_the_reason(encoder, store, corpus, pairs, mirror, tmp_path):
    report = evaluate_encoder(
        encoder, store, cmteb(mirror, "STSB", "LCQMC"), corpus, pairs, tmp_path / "work", tmp_path / "finished"
    )
    assert [row.task for row in report.not_run] == ["LCQMC"]
    assert "there is no folder" in report.not_run[0].reason
    assert {row.task for row in report.rows} == {"STSB"}


def test_a_reranking_set_without_its_candidates_does_not_run(encoder, store, corpus, pairs, mirror, tmp_path):
    (mirror / "T2Reranking" / "top_ranked" / "dev.parquet").unlink()
    with pytest.raises(EvaluationError, match=r"none of its tasks could be loaded: T2Reranking.*top_ranked"):
        evaluate_encoder(
            encoder, store, cmteb(mirror, "T2Reranking"), corpus, pairs, tmp_path / "work", tmp_path / "finished"
        )


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        (
            {"q0": ["d0"], "q9": ["d1"]},
            r"^T2Reranking: the query 'q1' has no candidates.* of 2 queries, such as 'q0': correct the ids",
        ),
        ({"q0": ["d0"], "q1": []}, r"^T2Reranking: the query 'q1' has no candidates"),
        (
            {"q0": ["d0", "d7"], "q1": ["d8"]},
            r"^T2Reranking: the query 'q0' has the candidate 'd7', which is not among the 4 .*leave the task out",
        ),
    ],
)
def test_candidates_of_other_queries_or_documents_are_an_error(
    encoder, store, corpus, pairs, mirror, tmp_path, listed, message
):
    rows = {"query-id": list(listed), "corpus-ids": list(listed.values())}
    pl.DataFrame(rows).write_parquet(mirror / "T2Reranking" / "top_ranked" / "dev.parquet")
    suites, work, finished = cmteb(mirror, "T2Reranking"), tmp_path / "work", tmp_path / "finished"
    with pytest.raises(EvaluationError, match=message):
        evaluate_encoder(encoder, store, suites, corpus, pairs, work, finished)
    with pytest.raises(EvaluationError, match=message):
        evaluate_baseline(bm25(), suites, corpus, pairs, work, finished)


def test_grades_below_one_keep_their_order_and_what_is_wrong_is_named(mirror):
    (task,) = mteb.get_tasks(tasks=["SciFact"])
    offline.read_from_folder(task, mirror / "SciFact")
    path = mirror / "SciFact" / "qrels" / "test.parquet"
    judged = {"query-id": ["q0", "q0"], "corpus-id": ["d0", "d1"], "score": [0.1, 1.0]}
    pl.DataFrame(judged).write_parquet(path)
    task.load_data()
    assert task.dataset["default"]["test"]["relevant_docs"] == {"q0": {"d0": 1, "d1": 10}}
    pl.DataFrame(judged | {"score": [None, 1.0]}).write_parquet(path)
    with pytest.raises(TableError, match=r"test\.parquet: row 1 .*column score is empty"):
        task.load_data()
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(TableError, match=r"test\.parquet is not readable Parquet"):
        task.load_data()


def write_search_set(folder: Path, texts: list[str], query: str) -> None:
    (folder / "qrels").mkdir(parents=True)
    ids = [f"d{number}" for number in range(len(texts))]
    pl.DataFrame({"_id": ids, "title": "", "text": texts}).write_parquet(folder / "corpus.parquet")
    pl.DataFrame({"_id": ["q"], "text": [query]}).write_parquet(folder / "queries.parquet")
    judged = pl.DataFrame({"query-id": ["q"], "corpus-id": ["d0"], "score": [1]})
    judged.write_parquet(folder / "qrels" / "test.parquet")


@pytest.mark.slow
def test_every_subset_of_a_task_is_read_from_a_folder_of_its_own(corpus, pairs, tmp_path):
    name = "MultilingualNanoSciFactRetrieval"
    task = mteb.get_task(name)
    suite = MtebSuite(kind="mteb", benchmark="NanoBEIR-multilingual", tasks=(name,), folder=tmp_path)
    for number, subset in enumerate(task.hf_subsets):
        texts = [f"apple {subset}", "blue sky"]
        write_search_set(tmp_path / name / subset, texts, "apple" if number else "sky")
    report = evaluate_baseline(bm25(), {"all": suite}, corpus, pairs, tmp_path / "work", tmp_path / "finished")
    values = {row.subset: row.value for row in report.rows if row.main}
    assert values == {subset: float(number > 0) for number, subset in enumerate(task.hf_subsets)}


def test_a_folder_without_its_subsets_leaves_the_task_out_with_their_names(corpus, pairs, tmp_path):
    name = "MultilingualNanoSciFactRetrieval"
    suite = MtebSuite(kind="mteb", benchmark="NanoBEIR-multilingual", tasks=(name,), folder=tmp_path)
    write_search_set(tmp_path / name, ["apple", "sky"], "apple")
    report = evaluate_baseline(bm25(), {"all": suite}, corpus, pairs, tmp_path / "work", tmp_path / "finished")
    (left_out,) = report.not_run
    assert "lacks the folder ar; it needs ar, de, en, es" in left_out.reason


def test_changed_files_are_scored_anew_and_an_evaluation_can_be_repeated(
    encoder, store, corpus, pairs, mirror, tmp_path
):
    suites = cmteb(mirror, "STSB")
    first = evaluate_encoder(encoder, store, suites, corpus, pairs, tmp_path / "work", tmp_path / "finished")
    assert (
        evaluate_encoder(encoder, store, suites, corpus, pairs, tmp_path / "work", tmp_path / "finished").rows
        == first.rows
    )
    changed = pl.read_parquet(mirror / "STSB" / "test.parquet").with_columns(score=5 - pl.col("score"))
    changed.write_parquet(mirror / "STSB" / "test.parquet")
    second = evaluate_encoder(encoder, store, suites, corpus, pairs, tmp_path / "work", tmp_path / "finished")
    assert second.rows[0].value == pytest.approx(-first.rows[0].value)


def test_the_files_of_a_suite_have_a_fingerprint_that_changes_with_them(mirror):
    suites = cmteb(mirror, "STSB")
    before = suite_files_fingerprint(suites)
    assert suite_files_fingerprint(suites) == before
    pl.DataFrame({"a": [1]}).write_parquet(mirror / "STSB" / "dev.parquet")
    assert suite_files_fingerprint(suites) != before


def test_bm25_runs_search_tasks_and_says_why_not_the_others(corpus, pairs, mirror, tmp_path):
    report = evaluate_baseline(
        bm25(), cmteb(mirror, "T2Reranking", "STSB"), corpus, pairs, tmp_path / "work", tmp_path / "finished"
    )
    assert {row.task for row in report.rows} == {"T2Reranking"}
    assert [(left_out.task, left_out.reason) for left_out in report.not_run] == [("STSB", NO_EMBEDDINGS)]


def test_bm25_leaves_out_a_suite_whose_search_tasks_cannot_be_loaded(corpus, pairs, mirror, tmp_path):
    report = evaluate_baseline(
        bm25(), cmteb(mirror, "T2Retrieval", "STSB"), corpus, pairs, tmp_path / "work", tmp_path / "finished"
    )
    assert report.rows == []
    assert [row.task for row in report.not_run] == ["T2Retrieval", "STSB"]
    assert "there is no folder" in report.not_run[0].reason


def test_a_disk_that_is_full_while_data_is_loaded_is_an_error(
    encoder, store, corpus, pairs, mirror, tmp_path, monkeypatch
):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(offline, "_fill", full)
    with pytest.raises(OSError, match="No space left"):
        evaluate_encoder(encoder, store, cmteb(mirror, "STSB"), corpus, pairs, tmp_path / "work", tmp_path / "finished")


def test_a_judged_query_without_a_relevant_document_is_among_the_worst(encoder, store, corpus, pairs, mirror, tmp_path):
    judged = mirror / "T2Reranking" / "qrels" / "dev.parquet"
    listed = mirror / "T2Reranking" / "top_ranked" / "dev.parquet"
    nothing = pl.DataFrame({"query-id": ["q2"], "corpus-id": ["d3"], "score": [0]})
    pl.concat([pl.read_parquet(judged), nothing]).write_parquet(judged)
    candidates = pl.DataFrame({"query-id": ["q2"], "corpus-ids": [["d3", "d2"]]})
    pl.concat([pl.read_parquet(listed), candidates]).write_parquet(listed)
    suites = cmteb(mirror, "T2Reranking")
    report = evaluate_encoder(encoder, store, suites, corpus, pairs, tmp_path / "work", tmp_path / "finished")
    (worst,) = [row for row in report.worst_queries if row.query == "not judged"]
    assert (worst.ndcg_at_10, worst.expected) == (0.0, "nothing")


def test_a_folder_below_the_home_directory_is_read_and_watched(encoder, store, corpus, pairs, mirror, monkeypatch):
    monkeypatch.setenv("HOME", str(mirror.parent))
    suites = {
        **cmteb("~/mirror", "STSB"),
        "own": FolderSuite(kind="folder", path="~/mirror/STSB", task="sts"),
    }
    for suite in ("zh", "own"):
        before = suite_files_fingerprint({suite: suites[suite]})
        (mirror / "STSB" / f"{suite}.jsonl").write_text("{}")
        assert suite_files_fingerprint({suite: suites[suite]}) != before
    work = mirror.parent
    report = evaluate_encoder(encoder, store, suites, corpus, pairs, work / "work", work / "finished")
    assert {row.suite for row in report.rows} == {"zh", "own"}


def test_a_folder_that_is_not_there_is_an_error_and_one_of_the_package_is_found(tmp_path):
    with pytest.raises(EvaluationError, match=r"suite 'zh': there is no folder .*gone"):
        suite_files_fingerprint(cmteb(tmp_path / "gone", "STSB"))
    missing = FolderSuite(kind="folder", path=tmp_path / "gone", task="sts")
    with pytest.raises(EvaluationError, match=r"suite 'own': there is no folder .*gone"):
        suite_files_fingerprint({"own": missing})
    sample = next(folder for folder in SAMPLES.iterdir() if folder.is_dir())
    suite = FolderSuite(kind="folder", path=f"sample:{sample.name}", task="sts")
    assert suite_files_fingerprint({"own": suite}) != suite_files_fingerprint({})


def test_the_judged_queries_and_all_texts_of_other_tasks_are_kept_out_of_training(pairs, mirror):
    texts = evaluation_queries(cmteb(mirror, "T2Reranking", "STSB"), pairs)
    assert {"an apple", "the sky", "cold water"} <= set(texts)
    assert "not judged" not in texts
