import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conan_assets.data.curation import curate
from conan_assets.data.settings import CurationSettings
from conan_assets.data.tables import PAIRS, TableError
from conan_assets.data.text import cleaned, compare_by, comparison_key
from conan_assets_tests.data.frames import make_corpus, make_pairs

CORPUS = make_corpus("Cats purr when they are content.", "Dogs bark at strangers.", "Birds sing at dawn.")
NONE = pl.DataFrame(schema=dict(PAIRS.columns))
KEEP = {"query": "which animal purrs", "doc_id": "wiki:d1", "pair_id": "keep", "query_id": "wiki:keep"}


def run(*rows, generated=NONE, queries=(), corpus=CORPUS, languages=None, **settings):
    return curate(make_pairs(KEEP, *rows), generated, corpus, queries, CurationSettings(**settings), languages)


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
        ({"query": "who barks", "text": "=== --- *** !!! ??? abc"}, "too_many_symbols"),
        ({"query": "who barks", "text": "buy now " * 30}, "repetitive"),
        ({"query": "who is Jane.Doe@example.com", "doc_id": "wiki:d2"}, "blocked_pattern"),
        ({"query": "who barks", "text": "ask jane.doe@example.com about dogs"}, "blocked_pattern"),
        ({"query": "dogs  BARK at strangers.", "doc_id": "wiki:d2"}, "query_equals_document"),
        ({"query": " Which animal　PURRS ", "doc_id": "wiki:d1"}, "duplicate"),
        ({"query": "which animal purrs", "text": "cats purr when they are CONTENT."}, "duplicate"),
    ],
)
def test_a_faulty_pair_is_removed_and_counted_under_its_reason(row, reason):
    pairs, report = run(row, blocked_patterns=[r"\w+@\w+\.\w+"])
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


@settings(max_examples=30, deadline=None)
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


LONG_QUERY = "which of the animals in the house is the one that purrs when it is content"


def test_a_query_close_to_one_of_the_test_split_never_trains():
    test = {"query": LONG_QUERY, "doc_id": "wiki:d3", "split": "test"}
    near = {"query": LONG_QUERY.replace("content", "happy"), "doc_id": "wiki:d2"}
    pairs, report = run(test, near)
    assert pairs["pair_id"].to_list() == ["keep"]
    assert removed(report) == {"near_evaluation_query": 1}
    assert run(test, near, near_duplicates=None)[0].height == 2


def test_near_equal_queries_of_near_equal_documents_are_one_pair():
    document = "A cat that is content purrs, and it may purr as well when it calms itself after a fright at night."
    corpus = make_corpus(
        CORPUS["text"][0], document, document.replace("at night", "in the night"), "Birds sing at dawn."
    )
    other_query = {"query": "what calms a cat", "doc_id": "wiki:d3"}
    pairs, report = run(
        {"query": LONG_QUERY, "doc_id": "wiki:d2", "pair_id": "first"},
        {"query": LONG_QUERY + "?", "doc_id": "wiki:d3", "pair_id": "near"},
        other_query | {"pair_id": "other query"},
        {"query": LONG_QUERY + " now", "doc_id": "wiki:d4", "pair_id": "other document"},
        corpus=corpus,
    )
    assert pairs["pair_id"].to_list() == ["keep", "first", "other query", "other document"]
    assert removed(report) == {"near_duplicate": 1}


def test_both_near_equal_positives_of_one_query_stay():
    document = "A cat that is content purrs, and it may purr as well when it calms itself after a fright at night."
    corpus = make_corpus(CORPUS["text"][0], document, document.replace("at night", "in the night"))
    pairs, _ = run(
        {"query": LONG_QUERY, "doc_id": "wiki:d2"}, {"query": LONG_QUERY, "doc_id": "wiki:d3"}, corpus=corpus
    )
    assert pairs.height == 3


def test_a_document_in_another_language_than_its_source_is_removed_unless_it_is_short():
    german = "Die Katze schnurrt, wenn sie zufrieden ist, und manchmal auch, wenn sie sich nach einem Schreck beruhigt."
    rows = ({"query": "which animal purrs too", "text": german}, {"query": "who barks", "text": "Der Hund bellt."})
    pairs, report = run(*rows, languages={"wiki": "en"})
    assert pairs["pair_id"].to_list() == ["keep", "p3"]
    assert removed(report) == {"other_language": 1}
    assert run(*rows, languages={"another": "en"})[0].height == 3
