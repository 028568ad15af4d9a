"""Questions over two passages of a document: confirmed to need both, and answered by both."""

import polars as pl
import pytest

from conan_assets.data.settings import DocumentsSource
from conan_assets.data.sources import load_source
from conan_assets.synthesis.estimate import estimate_generation
from conan_assets.synthesis.generation import generate_pairs
from conan_assets.synthesis.settings import Gates
from conan_assets_tests.data.frames import make_pairs
from conan_assets_tests.documents import write_documents
from conan_assets_tests.llm.server import ChatServer
from conan_assets_tests.synthesis.passages import over_two, settings


@pytest.fixture
def plant(tmp_path):
    write_documents(tmp_path / "plant")
    source = DocumentsSource(kind="documents", path=str(tmp_path / "plant"), passage_chars=250)
    return load_source("plant", source)[0], {"plant": source}


@pytest.mark.slow
def test_questions_that_one_passage_answers_go_and_of_the_others_both_passages_are_positives(plant, tmp_path):
    corpus, documents = plant
    gates = Gates(other_positives=0)
    with ChatServer(over_two) as server:
        chosen = settings(server, max_pairs=200, pairs_per_passage=1, two_passages_percent=100, gates=gates)
        before = estimate_generation(chosen, corpus, make_pairs(), tmp_path, documents)
        pairs, report = generate_pairs(chosen, corpus, make_pairs(), tmp_path, None, None, documents)
        asked = len(server.requests)
        again, _ = generate_pairs(chosen, corpus, make_pairs(), tmp_path, None, None, documents)
        assert len(server.requests) == asked
    assert again.equals(pairs)
    assert before["calls"] >= asked
    both = pairs.filter(pl.col("second_passage_id").is_not_null())
    assert both.height > 40
    assert set(both["split"]) == {"train", "dev", "test"}
    document = pl.col("doc_id").str.replace("#.*", "")
    per_query = both.group_by("query_id").agg(
        pl.col("doc_id").n_unique(), pl.col("split").n_unique(), documents=document.n_unique()
    )
    assert per_query.select("doc_id", "split", "documents").unique().rows() == [(2, 1, 1)]
    assert all(row.startswith("en/two_passages") for row in both["asked_for"])
    assert not both["query"].str.contains("K7A").any()
    assert {"reason": "one_passage_is_enough", "pairs": 1} in report["rejected_by_reason"]
    assert report["pairs"] == pairs.height


def test_off_by_default_and_only_questions_have_two(plant, tmp_path):
    corpus, documents = plant
    with ChatServer(over_two) as server:
        plain = settings(server, max_pairs=20, pairs_per_passage=1)
        pairs, _ = generate_pairs(plain, corpus, make_pairs(), tmp_path, None, None, documents)
        graded = plain.model_copy(update={"two_passages_percent": 100.0, "tasks": ("sts",)})
        assert estimate_generation(graded, corpus, make_pairs(), tmp_path, documents)["calls"] > 0
    assert pairs["second_passage_id"].null_count() == pairs.height
    assert not any("the two passages" in body["messages"][0]["content"] for body in server.requests)
