"""Real queries come later: a log over the documents that questions were written for, from its files to negatives."""

from pathlib import Path

import polars as pl
import pytest

from conan_assets.data.documents import read_documents
from conan_assets.data.settings import DocumentFiles
from conan_assets.settings import Settings
from conan_assets_tests.data.frames import write_lines
from conan_assets_tests.defs.conftest import metadata, programme, run, table
from conan_assets_tests.documents import write_documents

pytestmark = pytest.mark.slow

READ = {"kind": "documents", "passage_chars": 250, "max_text_bytes": 20_000}


def write_log(folder: Path, documents: DocumentFiles) -> None:
    """Write 60 searches for words of a passage, a day each, twice; the document above the right one is skipped."""
    passages = read_documents("plant", documents)[0].filter(pl.col("text").str.contains(" K"))
    asked = passages["text"].str.extract("(K[0-9]+[AB](?: [a-z]+){6})").to_list()
    ids = passages["doc_id"].to_list()
    searches = [
        {
            "query": f"{words} me@example.org",
            "shown": [ids[place - 1], "plant:gone.md#0123456789ab", ids[place]],
            "clicked": [ids[place]],
            "time": f"2025-{1 + place // 28:02}-{1 + place % 28:02}",
        }
        for place, words in enumerate(asked[:60])
    ]
    folder.mkdir()
    write_lines(folder / "log.jsonl", *searches, *searches)


def of_a_log(folder: Path, model: str) -> Settings:
    documents = {**READ, "path": str(folder / "plant")}
    write_documents(folder / "plant")
    write_log(folder / "log", DocumentFiles.model_validate(documents))
    return programme(
        folder,
        model,
        folder / "home",
        sources={"plant": {"kind": "query_log", "path": str(folder / "log"), "documents": documents}},
        rounds=1,
        suites={"beir": {"plant": {"kind": "local", "dataset": "plant", "splits": ["dev", "test"]}}},
        dev_metric={"suite": "plant", "split": "dev"},
    )


def test_clicks_train_skipped_documents_are_mined_first_and_the_newest_queries_judge(tmp_path, tiny_model):
    settings = of_a_log(tmp_path, tiny_model)
    shown = metadata(run(settings, '+key:"round_1/hard_negatives"'))
    for about in ("query_log", "judged_by_clicks", "position_bias", "personal_data_taken_out_of_queries"):
        assert about in shown["raw_corpus"]
    pairs, negatives = table(settings, "raw_pairs"), table(settings, "round_1/hard_negatives")
    assert "example.org" not in pairs.write_json()
    splits = pairs.filter(pl.col("score") > 0).group_by("split").len().sort("split").rows()
    assert splits == [("dev", 6), ("test", 6), ("train", 48)]
    skipped = pairs.filter(pl.col("score") == 0, pl.col("split") == "train").select("query_id", "doc_id")
    mined = negatives.join(skipped, on=["query_id", "doc_id"])
    assert mined.height == 48
    assert set(mined["verdict"]) == {"kept"}
    assert set(mined["reason"]) == {"judged_or_written"}
