import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conan_assets.artifacts import ArtifactStore
from conan_assets.data import blocks, curation
from conan_assets.data.curation import TeacherFloor, curate
from conan_assets.data.curation_settings import CurationSettings
from conan_assets.data.tables import TableError
from conan_assets.data.text import cleaned, compare_by, comparison_key
from conan_assets_tests.data.curating import CORPUS, KEEP, LONG_QUERY, NONE, removed, run
from conan_assets_tests.data.frames import make_corpus, make_pairs

STRICT = {
    "blocked_words": ["cretin", "坏蛋"],
    "blocked_patterns": [r"agent-\d+"],
    "personal_data": ["email", "phone", "identity_number", "payment_card", "ip_address"],
}


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
        ({"query": "谁会叫", "text": "马上购买" * 60}, "repetitive"),
        ({"query": "who barks", "text": "dogs \ufffd\ufffd bark at \ufffd strangers"}, "broken_text"),
        ({"query": "who \ue000 barks", "doc_id": "wiki:d2"}, "broken_text"),
        ({"query": "who barks", "text": "Dogs bark. Please enable JavaScript to view this page."}, "boilerplate"),
        (
            {"query": "谁会叫", "text": "狗会叫。版权所有，未经许可不得转载。\n返回首页 网站地图 联系我们"},
            "boilerplate",
        ),
        ({"query": "who is agent-007", "doc_id": "wiki:d2"}, "blocked_pattern"),
        ({"query": "who barks", "text": "ask agent-123 about dogs"}, "blocked_pattern"),
        ({"query": "who barks, you Cretin?", "doc_id": "wiki:d2"}, "blocked_word"),
        ({"query": "谁会叫", "text": "狗会叫，你这个坏蛋，快来看看吧。"}, "blocked_word"),
        ({"query": "who is jane.doe@example.com", "doc_id": "wiki:d2"}, "personal_data"),
        ({"query": "who barks", "text": "dogs bark, call +49 30 901820 for help"}, "personal_data"),
        ({"query": "谁会叫", "text": "狗会叫，请打电话给我：13812345678。"}, "personal_data"),
        ({"query": "谁会叫", "text": "身份证号码11010519491231002X的主人"}, "personal_data"),
        ({"query": "who barks", "text": "paid with 4111 1111 1111 1111 at the vet"}, "personal_data"),
        ({"query": "who barks", "text": "the dog at 192.168.0.254 barks"}, "personal_data"),
        ({"query": "dogs  BARK at strangers.", "doc_id": "wiki:d2"}, "query_equals_document"),
        ({"query": " Which animal　PURRS ", "doc_id": "wiki:d1"}, "duplicate"),
        ({"query": "which animal purrs", "text": "cats purr when they are CONTENT."}, "duplicate"),
    ],
)
def test_a_faulty_pair_is_removed_and_counted_under_its_reason(row, reason):
    pairs, report = run(row, **STRICT)
    assert pairs["pair_id"].to_list() == ["keep"]
    assert removed(report) == {reason: 1}
    assert [example["reason"] for example in report["rejected_examples"]] == [reason]


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


def _curate_in_store(root: Path, score) -> None:
    store, tables = ArtifactStore(root), [make_pairs(KEEP).lazy(), NONE.lazy(), CORPUS.lazy()]
    with store.building("training_pairs", "aa") as directory:
        target = directory / "table.parquet"
        store.finish(
            "training_pairs", "aa", curate(*tables, {}, CurationSettings(), target, teacher=TeacherFloor(score, 0.0))
        )


def _die(*_) -> np.ndarray:
    os.kill(os.getpid(), signal.SIGKILL)
    return np.empty(0)


@pytest.mark.slow
def test_the_working_files_of_a_killed_attempt_are_not_in_what_the_next_one_finishes(tmp_path):
    killed = multiprocessing.get_context("spawn").Process(target=_curate_in_store, args=(tmp_path, _die))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    assert list(tmp_path.glob("training_pairs/aa.partial/.*")), "killed before it wrote anything"
    _curate_in_store(tmp_path, lambda queries, _: np.ones(len(queries)))
    assert [path.name for path in tmp_path.rglob(".*")] == [".lock"]


def test_no_pair_left_is_an_error_that_counts_the_reasons():
    with pytest.raises(TableError, match=r"none of 1 train pairs is left.*query_too_short"):
        run(min_query_chars=1_000)


def test_a_pair_of_an_unknown_document_is_an_error_that_names_it():
    with pytest.raises(TableError, match="'p2' points to the document 'wiki:d9'"):
        run({"query": "who barks", "doc_id": "wiki:d9"})


@pytest.mark.slow
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


@pytest.mark.slow
@given(st.text())
def test_the_key_of_a_text_is_its_own_key(text):
    frame = pl.DataFrame({"text": [text]}, schema={"text": pl.String})
    once = frame.select(comparison_key(pl.col("text")))
    assert once.select(comparison_key(pl.col("text"))).item() == once.item()
    assert (
        frame.select(cleaned(pl.col("text"))).select(cleaned(pl.col("text"))).item()
        == frame.select(cleaned(pl.col("text"))).item()
    )


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


@pytest.mark.slow
def test_a_document_in_another_language_than_its_source_is_removed_unless_it_is_short():
    german = "Die Katze schnurrt, wenn sie zufrieden ist, und manchmal auch, wenn sie sich nach einem Schreck beruhigt."
    rows = ({"query": "which animal purrs too", "text": german}, {"query": "who barks", "text": "Der Hund bellt."})
    pairs, report = run(*rows, languages={"wiki": "en"})
    assert pairs["pair_id"].to_list() == ["keep", "p3"]
    assert removed(report) == {"other_language": 1}
    assert run(*rows, languages={"another": "en"})[0].height == 3


@pytest.mark.parametrize(
    "row",
    [
        {"query": "which concretinous rock is it", "doc_id": "wiki:d2"},
        {"query": "who barks", "text": "Version 3.11 of 2024-01-02 barks 12 345 times at 10.5.1"},
        {"query": "谁会叫", "text": "狗会对陌生人叫，也会看守房屋，还会在晚上叫醒主人。"},
        {"query": "who barks", "text": "Dogs bark. They guard the house at night. All rights reserved."},
        {"query": "who barks", "text": " ".join(f"word{number % 20}" for number in range(60))},
    ],
)
def test_ordinary_text_passes_the_strictest_settings(row):
    assert removed(run(row, **STRICT)[1]) == {}


def test_a_pair_is_counted_under_the_first_step_that_removes_it():
    faulty = {"query": "ab", "text": "x" * 5 + " jane@example.com " + "=" * 60, "score": 0.0}
    reasons = []
    for fixed in ({}, {"score": 1.0}, {"query": "abc"}, {"text": "x" * 5 + " jane@example.com bla"}):
        faulty |= fixed
        reasons += removed(run(faulty, personal_data=["email"], min_document_chars=9)[1])
    assert reasons == ["judged_irrelevant", "query_too_short", "too_many_symbols", "personal_data"]


def test_the_table_names_the_steps_in_the_order_of_the_papers():
    _, report = run({"query": "ab", "doc_id": "wiki:d2"})
    steps = list(dict.fromkeys(row["step"] for row in report["removed_by_reason"]))
    assert steps == [
        "format",
        "length",
        "language",
        "heuristics",
        "near_duplicates",
        "safety",
        "decontamination",
        "teacher_score",
    ]
    assert [row["remaining"] for row in report["removed_by_reason"]][:3] == [2, 2, 1]


def test_the_second_sentence_of_a_graded_pair_may_be_as_short_as_a_query():
    pairs, report = run({"query": "他在跑步", "text": "他跑步", "task": "sts", "score": 4.0}, min_document_chars=10)
    assert (pairs.height, removed(report)) == (2, {})


def test_a_query_that_normalisation_changed_is_counted():
    assert run({"query": "cafe\u0301 opening hours", "doc_id": "wiki:d2"})[1]["queries_normalised"] == 1


def test_pairs_below_the_teachers_floor_are_removed_and_only_retrieval_pairs_are_scored():
    seen = []

    def score(queries, documents):
        seen.extend(zip(queries, documents, strict=True))
        return np.array([0.39 if "barks" in query else 0.4 for query in queries])

    rows = ({"query": "who barks", "doc_id": "wiki:d2"}, {"query": "x barks", "text": "y barks", "task": "sts"})
    pairs, report = run(*rows, teacher=TeacherFloor(score, 0.4))
    assert pairs["pair_id"].to_list() == ["keep", "p3"]
    assert removed(report) == {"low_teacher_score": 1}
    assert seen == [
        ("which animal purrs", "Cats purr when they are content."),
        ("who barks", "Dogs bark at strangers."),
    ]


def test_the_same_pair_in_another_dataset_is_a_duplicate():
    _, report = run({"query": "which animal purrs", "doc_id": "wiki:d1", "dataset": "faq"})
    assert removed(report) == {"duplicate": 1}


def test_a_pair_of_another_task_and_a_label_of_another_dataset_are_no_duplicates():
    rows = [
        {"query": LONG_QUERY, "text": "0", "task": "classification", "dataset": "tone"},
        {"query": LONG_QUERY, "text": "0", "task": "classification", "dataset": "topic"},
        {"query": LONG_QUERY + "?", "text": "0", "task": "classification", "dataset": "subject"},
        {"query": "which animal purrs", "text": CORPUS["text"][0], "task": "sts"},
    ]
    assert removed(run(*rows)[1]) == {}


@pytest.mark.parametrize(
    ("word", "text", "found"),
    [
        ("Acme Inc.", "they ask ACME Inc. about dogs", True),
        ("C++", "dogs written in C++ bark", True),
        ("C++", "dogs written in VC++ bark", False),
        (".net", "dogs on .NET bark", True),
        (".net", "dogs on .network bark", False),
    ],
)
def test_a_blocked_word_may_begin_and_end_in_a_symbol(word, text, found):
    _, report = run({"query": "who barks", "text": text}, blocked_words=[word])
    assert removed(report) == ({"blocked_word": 1} if found else {})


@pytest.mark.parametrize("key", ["blocked_patterns", "boilerplate_patterns"])
def test_a_pattern_that_is_no_regular_expression_is_named_with_its_key(key):
    with pytest.raises(ValueError, match=rf"{key}\n.*'cat\|\(dog' is no regular expression"):
        CurationSettings(**{key: ["cat", "cat|(dog"]})


def test_two_pairs_of_one_id_are_refused():
    with pytest.raises(TableError, match="two train pairs are called 'keep'"):
        run({"query": "who barks", "doc_id": "wiki:d2", "pair_id": "keep"})


def test_the_work_done_in_blocks_is_the_same_as_at_once(monkeypatch):
    rows = [{"query": f"who is number {number % 9}", "doc_id": f"wiki:d{number % 3 + 1}"} for number in range(40)]
    rows += [{"query": f"what is {number}", "text": f"this is the text {number}"} for number in range(10)]
    pairs, report = run(*rows)
    for module in (blocks, curation):
        monkeypatch.setattr(module, "BLOCK_ROWS" if module is blocks else "SCORED_PAIRS", 7)
    in_blocks, again = run(*rows)
    assert in_blocks.equals(pairs)
    assert again | {"seconds": 0} == report | {"seconds": 0}


@pytest.mark.parametrize("space", ["\f", "\v", "\r", "\x85", "\x1c", "\x1f"])
def test_white_space_that_is_a_control_character_does_not_glue_words(space):
    kept, _ = run({"query": f"the page ends{space}and another begins\x07", "doc_id": "wiki:d2"})
    assert "the page ends and another begins" in kept["query"].to_list()
