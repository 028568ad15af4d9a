"""Questions of dev and test: a stricter gate, all of their answers, and none about what is trained on."""

import polars as pl
import pytest

from conan_assets.data.settings import DocumentsSource
from conan_assets.data.sources import load_source
from conan_assets.llm.journal import JOURNAL
from conan_assets.synthesis.estimate import estimate_generation
from conan_assets.synthesis.generation import generate_pairs
from conan_assets.synthesis.held_out import with_other_positives, without_near_training
from conan_assets.synthesis.settings import Gates
from conan_assets_tests.data.frames import as_written, make_corpus, make_pairs
from conan_assets_tests.documents import by_rule, write_documents
from conan_assets_tests.llm.server import ChatServer, Reply
from conan_assets_tests.synthesis.passages import settings


@pytest.fixture
def plant(tmp_path):
    write_documents(tmp_path / "plant")
    source = DocumentsSource(kind="documents", path=str(tmp_path / "plant"), passage_chars=250)
    return load_source("plant", source)[0], {"plant": source}


def written(server, plant, folder, **changes):
    corpus, documents = plant
    values = {"max_pairs": 60, "pairs_per_passage": 1, "gates": Gates(other_positives=2)} | changes
    no_pairs = make_pairs()
    return generate_pairs(settings(server, **values), corpus, no_pairs, folder, None, None, documents)


@pytest.mark.slow
def test_a_question_without_a_good_grade_is_neither_dev_nor_test_and_training_needs_none(plant, tmp_path):
    def poor(number: int, body: dict) -> Reply:
        reply = by_rule(number, body)
        return Reply(reply.content.replace('"natural": 4', '"natural": 3')) if "grades" in reply.content else reply

    with ChatServer(poor) as server:
        pairs, report = written(server, plant, tmp_path)
        lenient, _ = written(server, plant, tmp_path, gates=Gates(held_out_min_grade=3, other_positives=0))
    assert set(pairs["split"]) == {"train"}
    assert {row["reason"] for row in report["rejected_by_reason"] if row["pairs"]} <= {"low_grade", "other_language"}
    assert set(lenient["split"]) == {"train", "dev", "test"}
    assert lenient.filter(split="train")["grade"].null_count() == lenient.filter(split="train").height


@pytest.mark.slow
def test_the_estimate_counts_every_call_that_grades_and_none_that_is_answered(plant, tmp_path):
    corpus, documents = plant
    with ChatServer(by_rule) as server:
        chosen = settings(server, max_pairs=60, pairs_per_passage=1, gates=Gates(other_positives=2))
        before = estimate_generation(chosen, corpus, make_pairs(), tmp_path, documents)
        _, report = written(server, plant, tmp_path)
        assert before["calls"] >= len(server.requests) > 60
        asked = len(server.requests)
        again, _ = written(server, plant, tmp_path)
        assert len(server.requests) == asked
    assert (tmp_path / JOURNAL).exists()
    assert sum(row["pairs"] for row in report["by_split"]) == again.height


class Fixed:
    """Grades 5 what says 'twice', else 1."""

    def lowest_grades(self, questions: pl.DataFrame):
        return questions["passage"].str.contains("twice").cast(pl.Int8).to_numpy() * 4.0 + 1


CORPUS = make_corpus(
    "The mill turns twice a day.", "Twice is how often the mill turns: twice.", "Nothing turns here, no mill."
)
QUESTION = {"query": "how often does the mill turn", "doc_id": "wiki:d1", "split": "test"}


@pytest.mark.parametrize(("other_split", "documents"), [("test", ["wiki:d1", "wiki:d2"]), ("train", []), (None, [])])
def test_a_confirmed_answer_is_a_positive_of_the_same_split_and_ends_a_question_of_another(other_split, documents):
    chosen = pl.DataFrame({"doc_id": ["wiki:d1", "wiki:d2", "wiki:d3"], "split": ["test", other_split, "test"]})
    pairs = as_written(make_pairs(QUESTION))
    kept, report = with_other_positives(Gates(), pairs, CORPUS, chosen.drop_nulls(), None, Fixed())
    assert kept["doc_id"].to_list() == documents
    assert kept["pair_id"].n_unique() == len(documents)
    assert report["answered_in_another_split"] == (not documents)


def test_the_second_passage_of_a_question_is_no_other_answer_to_it():
    chosen = pl.DataFrame({"doc_id": ["wiki:d1", "wiki:d2", "wiki:d3"], "split": ["test"] * 3})
    pairs = as_written(make_pairs(QUESTION | {"second_passage_id": "wiki:d2"}))
    kept, report = with_other_positives(Gates(), pairs, CORPUS, chosen, None, Fixed())
    assert kept["doc_id"].to_list() == ["wiki:d1"]
    assert report["other_positives"] == 0


def test_a_question_about_a_passage_nearly_trained_on_is_left_out():
    text = "the mill by the river turns its two wheels at dawn and at dusk and grinds the grain of nine farms"
    corpus = make_corpus(text, f"{text} indeed", "Something else is said here about a kiln, a loom and a lathe.")
    rows = [
        {"query": f"q{n}", "doc_id": f"wiki:d{n}", "split": split}
        for n, split in ((1, "train"), (2, "test"), (3, "test"))
    ]
    kept, count = without_near_training(as_written(make_pairs(*rows)), corpus)
    assert (kept["doc_id"].to_list(), count) == (["wiki:d1", "wiki:d3"], 1)
    both = {"query": "q2", "doc_id": "wiki:d3", "split": "test", "query_id": "wiki:q2", "pair_id": "p9"}
    kept, count = without_near_training(as_written(make_pairs(*rows, both)), corpus)
    assert (kept["query"].to_list(), count) == (["q1", "q3"], 2)  # no question is judged by half of its answers
