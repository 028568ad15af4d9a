"""Traps of mteb and of benchmark data that no other test of this room covers."""

import json
import sys
import types

import mteb
import polars as pl
import pytest
from mteb.get_tasks import _TASKS_REGISTRY

from conan_assets.evaluation import run
from conan_assets.evaluation.finished import FinishedTasks
from conan_assets.evaluation.local_tasks import local_task
from conan_assets.evaluation.models import EncoderModel
from conan_assets.evaluation.run import evaluate_baseline, evaluate_encoder
from conan_assets.evaluation.settings import FolderSuite, MtebSuite
from conan_assets.evaluation.suites import suite_tasks
from conan_assets_tests.evaluation.conftest import DOCS, bm25


def test_tasks_of_ones_own_are_known_to_mteb_by_name(corpus, pairs):
    task = local_task("docs", DOCS["docs"], corpus, pairs)
    assert _TASKS_REGISTRY[task.metadata.name] is type(task)
    assert mteb.get_task(task.metadata.name).metadata.name == task.metadata.name


def test_an_error_while_a_task_runs_is_raised_and_what_was_finished_is_kept(
    encoder, store, corpus, pairs, tmp_path, monkeypatch
):
    suites = {**DOCS, "more": DOCS["docs"].model_copy(update={"dataset": "animals", "splits": ("test",)})}
    really_search = EncoderModel.search

    def broken(self, queries, *, task_metadata, **others):
        if "animals" in task_metadata.name:
            raise MemoryError("the corpus is too large")
        return really_search(self, queries, task_metadata=task_metadata, **others)

    monkeypatch.setattr(EncoderModel, "search", broken)
    with pytest.raises(MemoryError, match="too large"):
        evaluate_encoder(encoder, store, suites, corpus, pairs, tmp_path, tmp_path / "finished")
    monkeypatch.undo()
    started = []
    really_run = run._run
    monkeypatch.setattr(run, "_run", lambda model, task, kept: started.append(task) or really_run(model, task, kept))
    report = evaluate_encoder(encoder, store, suites, corpus, pairs, tmp_path, tmp_path / "finished")
    assert [task.metadata.dataset["path"] for task in started] == ["animals"]
    assert {row.suite for row in report.rows} == set(suites)


def test_a_new_revision_of_a_set_on_the_hub_is_evaluated_anew(store, encoder, corpus, pairs, tmp_path):
    evaluate_encoder(encoder, store, DOCS, corpus, pairs, tmp_path, tmp_path / "finished")
    kept = FinishedTasks(tmp_path / "finished", EncoderModel(encoder, store).fingerprint)
    task = local_task("docs", DOCS["docs"], corpus, pairs)
    assert kept.find(task) is not None
    newer = {**task.metadata.dataset, "revision": "another commit"}
    vars(task)["metadata"] = task.metadata.model_copy(update={"dataset": newer})
    assert kept.find(task) is None


def test_no_tracker_of_emissions_runs_where_one_is_installed(encoder, store, corpus, pairs, tmp_path, monkeypatch):
    def started(**_):
        raise AssertionError("a tracker was started")

    installed = types.ModuleType("codecarbon")
    installed.EmissionsTracker = started
    monkeypatch.setitem(sys.modules, "codecarbon", installed)
    evaluate_encoder(encoder, store, DOCS, corpus, pairs, tmp_path, tmp_path / "finished")
    (result,) = (tmp_path / "finished").rglob("*.json")
    assert json.loads(result.read_text())["result"]["kg_co2_emissions"] is None


def test_a_folder_whose_readme_has_configs_is_read_as_it_is_now(encoder, store, corpus, pairs, tmp_path):
    folder = tmp_path / "pairs"
    folder.mkdir()
    (folder / "README.md").write_text("---\nconfigs:\n- config_name: default\n  data_files: test.parquet\n---\n")
    suites = {"sts": FolderSuite(kind="folder", path=folder, task="sts")}
    texts, others = ["aaa", "bbb ccc", "ddd 1", "2 3 4"], ["aaa", "bbb", "zz 9", "qq"]
    values = []
    for scores in ([0.0, 1.0, 2.0, 5.0], [5.0, 2.0, 1.0, 0.0]):
        rows = {"sentence1": texts, "sentence2": others, "score": scores}
        pl.DataFrame(rows).write_parquet(folder / "test.parquet")
        report = evaluate_encoder(encoder, store, suites, corpus, pairs, tmp_path / "work", tmp_path / "finished")
        values.append(next(row.value for row in report.rows if row.main))
    assert values[0] == pytest.approx(-values[1])
    assert values[0] != 0


def test_a_document_that_is_its_own_query_counts_neither_in_the_score_nor_per_query(
    encoder, store, corpus, pairs, tmp_path
):
    folder = tmp_path / "hub" / "ArguAna"
    (folder / "qrels").mkdir(parents=True)
    texts = [f"an argument about {word}" for word in ("cats", "dogs", "cats and dogs", "rain")]
    documents = pl.DataFrame({"_id": [f"a{i}" for i in range(4)], "title": "", "text": texts})
    documents.write_parquet(folder / "corpus.parquet")
    documents.select("_id", "text").write_parquet(folder / "queries.parquet")
    judged = {"query-id": ["a0", "a1", "a3"], "corpus-id": ["a2", "a2", "a0"], "score": [1, 1, 1]}
    pl.DataFrame(judged).write_parquet(folder / "qrels" / "test.parquet")
    suites = {"en": MtebSuite(kind="mteb", benchmark="BEIR", tasks=("ArguAna",), folder=tmp_path / "hub")}
    for name, report in (
        ("per_query", evaluate_encoder(encoder, store, suites, corpus, pairs, tmp_path, tmp_path / "finished")),
        ("bm25_per_query", evaluate_baseline(bm25(), suites, corpus, pairs, tmp_path, tmp_path / "finished")),
    ):
        queries = pl.read_parquet(tmp_path / f"{name}.parquet")
        assert not any(query_id in found for query_id, found in queries.select("query_id", "found").iter_rows())
        (value,) = [row.value for row in report.rows if row.main]
        assert value == pytest.approx(queries["ndcg_at_10"].mean(), abs=1e-5)


def write_beir(folder, judged):
    (folder / "qrels").mkdir(parents=True)
    texts = {"a": "tabs are better than spaces", "b": "spaces are better", "c": "semicolons end lines", "d": "no, tabs"}
    documents = pl.DataFrame({"_id": list(texts), "text": list(texts.values())})
    documents.write_ndjson(folder / "corpus.jsonl")
    documents.filter(pl.col("_id").is_in(judged)).write_ndjson(folder / "queries.jsonl")
    lines = ["query-id\tcorpus-id\tscore", *(f"{query}\t{document}\t1" for query, document in judged.items())]
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(("judged", "value"), [({"a": "d"}, 0.6309), ({"a": "b", "c": "c"}, 0.8155)])
def test_a_query_that_is_a_document_does_not_find_itself_unless_ids_merely_count_both(judged, value, tmp_path):
    write_beir(tmp_path / "debate", judged)
    suites = {"debate": FolderSuite(kind="folder", path=tmp_path / "debate", task="retrieval")}
    nothing = pl.DataFrame()
    report = evaluate_baseline(bm25(), suites, nothing, nothing, tmp_path, tmp_path / "finished")
    found = dict(pl.read_parquet(tmp_path / "bm25_per_query.parquet").select("query_id", "found").iter_rows())
    is_left_out = [query not in documents for query, documents in found.items()]
    assert is_left_out == [len(judged) == 1] * len(judged)
    (main,) = [row.value for row in report.rows if row.main]
    assert main == pytest.approx(value, abs=1e-3)


@pytest.mark.slow
def test_a_split_that_a_copy_of_the_data_lacks_leaves_its_task_out(encoder, store, corpus, pairs, tmp_path):
    labelled = {"text": [f"text {n}" for n in range(40)], "label": [n % 2 for n in range(40)]}
    for name in ("Waimai", "MultilingualSentiment"):
        (tmp_path / "hub" / name).mkdir(parents=True)
        for split in ("train", "test"):
            pl.DataFrame(labelled).write_parquet(tmp_path / "hub" / name / f"{split}.parquet")
    suite = MtebSuite(
        kind="mteb", benchmark="C-MTEB", tasks=("Waimai", "MultilingualSentiment"), folder=tmp_path / "hub"
    )
    report = evaluate_encoder(encoder, store, {"zh": suite}, corpus, pairs, tmp_path, tmp_path / "finished")
    assert [row.task for row in report.not_run] == ["MultilingualSentiment"]
    assert "lacks validation.parquet" in report.not_run[0].reason


def test_tasks_of_a_benchmark_keep_the_splits_that_the_benchmark_names(corpus, pairs):
    suites = {"zh": MtebSuite(kind="mteb", benchmark="C-MTEB", tasks=("ATEC", "BQ", "STSB", "MultilingualSentiment"))}
    splits = {part.name: list(part.task.eval_splits) for part in suite_tasks(suites, corpus, pairs)}
    assert splits == {
        "ATEC": ["test"],
        "BQ": ["test"],
        "STSB": ["test"],
        "MultilingualSentiment": ["validation", "test"],
    }
