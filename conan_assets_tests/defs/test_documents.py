"""From a folder of documents to a release: every question is written, and a change makes only what it touches."""

from pathlib import Path

import polars as pl
import pytest

from conan_assets.definitions import build_defs
from conan_assets.defs.automation import changed_sources
from conan_assets.defs.corpus import JUDGED_KEY, PAIRS_KEY, source_fingerprints
from conan_assets.defs.storage import Storage
from conan_assets.settings import Settings
from conan_assets_tests.defs.conftest import changing, metadata, programme, run, table
from conan_assets_tests.documents import by_rule, write_documents
from conan_assets_tests.llm.server import ChatServer

pytestmark = pytest.mark.slow


def of_documents(folder: Path, model: str, home: Path, base_url: str) -> Settings:
    return programme(
        folder,
        model,
        home,
        sources={"plant": {"kind": "documents", "path": str(folder), "passage_chars": 250, "max_text_bytes": 20_000}},
        generation={
            "kind": "openai",
            "model": "writer",
            "base_url": base_url,
            "max_pairs": 400,
            "pairs_per_passage": 1,
            "gates": {"teacher": "tiny", "top_k": 200, "min_teacher_score": -1, "other_positives": 2},
        },
        rounds=1,
        suites={"beir": {"plant": {"kind": "local", "dataset": "plant", "splits": ["dev", "test"]}}},
        dev_metric={"suite": "plant", "split": "dev"},
        release={"exports": ["float16"], "server": {"base_url": f"{base_url}/v1"}},
    )


def test_whatever_scores_or_mines_reads_the_pairs_that_were_written_to_judge_by(tmp_path, tiny_model):
    graph = build_defs(
        of_documents(tmp_path, tiny_model, tmp_path / "home", "http://127.0.0.1:9")
    ).resolve_asset_graph()
    readers = {key.to_user_string() for key in graph.get(PAIRS_KEY).child_keys}
    assert readers == {"prompt_response_pairs", "judged_pairs"}
    assert {"exports", "served_model", "round_1/beir_report"} <= {
        key.to_user_string() for key in graph.get(JUDGED_KEY).child_keys
    }


def test_files_become_a_release_and_a_changed_an_added_and_a_deleted_one_make_what_they_touch(tmp_path, tiny_model):
    folder = tmp_path / "plant"
    write_documents(folder)
    with ChatServer(by_rule) as server:
        settings = of_documents(folder, tiny_model, tmp_path / "home", server.base_url)
        first = metadata(run(settings, "not key:served_model"))
        corpus, written = table(settings, "raw_corpus"), table(settings, "prompt_response_pairs")
        asked = [body["messages"][0]["content"] for body in server.requests]
        storage = Storage(home=str(settings.home))
        assert changed_sources(storage, source_fingerprints(settings, storage)) == []
        (folder / "page_3.md").write_text((folder / "page_3.md").read_text().replace("K3B", "K3C"))
        (folder / "page_90.md").write_text(
            "# The new press\n\nThe press K90A waits behind seven red doors until dawn.\n"
        )
        (folder / "page_4.md").unlink()
        assert changed_sources(storage, source_fingerprints(settings, storage)) == ["plant"]
        second = metadata(run(settings, "not key:served_model"))
        again = table(settings, "prompt_response_pairs")
        asked_later = [body["messages"][0]["content"] for body in server.requests][len(asked) :]
    assert "float16" in (settings.home / "leaderboard.md").read_text()
    for reason in ("empty", "binary", "too_large", "scan.pdf"):
        assert reason in first["raw_corpus"]["files_left_out"].md_str
    _every_split_is_written_and_apart(corpus, written)
    assert "released_model" in first
    assert "(written by writer)" in (settings.home / "leaderboard.md").read_text()
    assert not set(asked) & set(asked_later)
    touched = pl.col("passage_id").str.contains("page_3.md|page_4.md|page_90.md")
    kept = written.filter(~touched, split="train").select("pair_id", "query", "doc_id", "split")
    assert kept.join(again, on=kept.columns, how="anti").is_empty()
    assert len(asked_later) < len(asked) / 4
    assert second["teacher_scores/tiny"]["encoded"].value <= 8


def _every_split_is_written_and_apart(corpus: pl.DataFrame, written: pl.DataFrame) -> None:
    assert set(written["split"]) == {"train", "dev", "test"}
    assert (corpus.height, corpus["text"].n_unique()) == (106, 106)
    splits = written.group_by("document_group").agg(pl.col("split").n_unique())
    assert splits["split"].max() == 1
    near = written.filter(pl.col("passage_id").str.contains("page_0.md|near_0.md|same_0.md"))
    assert near["document_group"].n_unique() == 1
    held_out = written.filter(pl.col("split") != "train")
    assert held_out["grade"].min() >= 4
    for column in ("passage_id", "generator", "asked_for", "answer_key"):
        assert held_out[column].null_count() == 0


def test_a_question_of_the_test_about_a_passage_that_is_trained_on_blocks(tmp_path, tiny_model):
    folder = tmp_path / "plant"
    write_documents(folder)
    with ChatServer(by_rule) as server:
        settings = of_documents(folder, tiny_model, tmp_path / "home", server.base_url)
        run(settings, "+prompt_response_pairs")
        with changing(settings, "prompt_response_pairs") as version:
            pairs = pl.read_parquet(version / "table.parquet")
            moved = pl.when(pl.col("pair_id") == pairs.filter(split="train")["pair_id"][0]).then(pl.lit("test"))
            pairs.with_columns(split=moved.otherwise("split")).write_parquet(version / "table.parquet")
        result = run(settings, "prompt_response_pairs", raise_on_error=False)
    (evaluation,) = (e for e in result.get_asset_check_evaluations() if e.check_name == "splits_apart")
    assert evaluation.blocking
    assert not evaluation.passed
