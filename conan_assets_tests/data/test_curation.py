import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conan_assets.data.curation import curate
from conan_assets.data.settings import CurationSettings
from conan_assets.data.tables import PAIRS, TableError
from conan_assets.data.text import cleaned, compare_by, comparison_key
from conan_assets_tests.data.frames import make_corpus, make_pairs

CORPUS = make_corpus("Cats purr when they are content.", "Dogs bark at strangers.", "Birds sing at dawn.")
NONE = pl.DataFrame(schema=dict(PAIRS.columns))
KEEP = {"query": "which animal purrs", "doc_id": "wiki:d1", "pair_id": "keep", "query_id": "wiki:keep"}


def run(*rows, generated=NONE, queries=(), corpus=CORPUS, **settings):
    return curate(make_pairs(KEEP, *rows), generated, corpus, queries, CurationSettings(**settings))


def removed(report) -> dict[str, int]:
    return {row["step"]: row["removed"] for row in report["removed_by_reason"] if row["removed"]}


def test_pairs_without_a_fault_stay():
    pairs, report = run({"query": "who barks", "doc_id": "wiki:d2"})
    assert pairs["query"].to_list() == ["which animal purrs", "who barks"]
    assert (report["rows_in"], report["rows_out"], removed(report)) == (2, 2, {})


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"query": "who barks", "doc_id": "wiki:d2", "score": 0.0}, "judged_irrelevant"),
        ({"query": "ab", "doc_id": "wiki:d2"}, "query_too_short"),
        ({"query": "a" * 2_001, "doc_id": "wiki:d2"}, "query_too_long"),
        ({"query": "who barks", "text": "dogs"}, "document_too_short"),
        ({"query": "who barks", "text": "d" * 100_001}, "document_too_long"),
        ({"query": "dogs  BARK at strangers.", "doc_id": "wiki:d2"}, "query_equals_document"),
        ({"query": " Which animal　PURRS ", "doc_id": "wiki:d1"}, "duplicate"),
        ({"query": "which animal purrs", "text": "cats purr when they are CONTENT."}, "duplicate"),
    ],
)
def test_a_faulty_pair_is_removed_and_counted_under_its_reason(row, reason):
    pairs, report = run(row)
    assert pairs["pair_id"].to_list() == ["keep"]
    assert removed(report) == {reason: 1}
    assert [example["reason"] for example in report["rejected_examples"]] == [reason]


def test_a_query_of_the_test_split_never_trains_whatever_its_case_width_and_spaces():
    test = {"query": "who sings at dawn", "doc_id": "wiki:d3", "split": "test"}
    pairs, report = run(test, {"query": "Ｗho  SINGS at dawn", "doc_id": "wiki:d2"})
    assert pairs["pair_id"].to_list() == ["keep"]
    assert removed(report) == {"evaluation_query": 1}


def test_a_query_of_another_evaluation_set_never_trains():
    pairs, report = run({"query": "who barks", "doc_id": "wiki:d2"}, queries=["Who barks"])
    assert pairs["pair_id"].to_list() == ["keep"]
    assert removed(report) == {"evaluation_query": 1}


def test_a_judged_pair_of_the_dev_split_never_trains_with_its_sides_exchanged():
    dev = {"query": "who sings", "doc_id": "wiki:d3", "split": "dev"}
    _, report = run(
        dev, {"query": "Birds sing at dawn.", "text": "who sings", "task": "sts", "score": 4.0}, min_document_chars=1
    )
    assert removed(report) == {"evaluation_pair": 1}


def test_generated_pairs_go_through_the_same_steps():
    generated = make_pairs(
        {"query": "Which animal purrs", "doc_id": "wiki:d1", "origin": "llm", "pair_id": "g1"},
        {"query": "what do birds do", "doc_id": "wiki:d3", "origin": "llm", "pair_id": "g2"},
    )
    pairs, report = run(generated=generated)
    assert pairs.select("pair_id", "origin").rows() == [("keep", "natural"), ("g2", "llm")]
    assert removed(report) == {"duplicate": 1}
    assert {(row["origin"], row["pairs"]) for row in report["kept_by_dataset"]} == {("natural", 1), ("llm", 1)}


def test_a_query_under_two_ids_becomes_one_query_with_both_positives():
    pairs, _ = run({"query": "Which animal purrs", "doc_id": "wiki:d3"})
    assert pairs.select("query_id", "doc_id").rows() == [("wiki:keep", "wiki:d1"), ("wiki:keep", "wiki:d3")]


def test_texts_are_cleaned_of_control_characters_and_composed():
    pairs, _ = run({"query": "cafe\u0301\u200b opening\x07 hours", "doc_id": "wiki:d2"})
    assert pairs["query"][1] == "café opening hours"


def test_a_graded_pair_with_a_score_of_zero_stays():
    pairs, _ = run({"query": "a man runs", "text": "a cat sleeps", "task": "sts", "score": 0.0})
    assert pairs.height == 2


def test_no_pair_left_is_an_error_that_counts_the_reasons():
    with pytest.raises(TableError, match=r"none of 1 train pairs is left.*query_too_short"):
        run(min_query_chars=1_000)


def test_a_pair_of_an_unknown_document_is_an_error_that_names_it():
    with pytest.raises(TableError, match="'p2' points to the document 'wiki:d9'"):
        run({"query": "who barks", "doc_id": "wiki:d9"})


@given(
    st.lists(
        st.sampled_from(["who barks", "WHO barks", "who sings", "x", "what is a cat", " who  barks "]), max_size=12
    )
)
def test_what_is_removed_and_what_stays_add_up_and_nothing_stays_twice(queries):
    pairs, report = run(*({"query": query, "doc_id": "wiki:d2"} for query in queries))
    assert report["rows_out"] + sum(removed(report).values()) == report["rows_in"] == len(queries) + 1
    texts = [(compare_by(query), doc_id) for query, doc_id in pairs.select("query", "doc_id").iter_rows()]
    assert len(set(texts)) == len(texts)


@given(st.text())
def test_the_key_of_a_text_is_its_own_key(text):
    frame = pl.DataFrame({"text": [text]}, schema={"text": pl.String})
    once = frame.select(comparison_key(pl.col("text")))
    assert once.select(comparison_key(pl.col("text"))).item() == once.item()
    assert (
        frame.select(cleaned(pl.col("text"))).select(cleaned(pl.col("text"))).item()
        == frame.select(cleaned(pl.col("text"))).item()
    )
