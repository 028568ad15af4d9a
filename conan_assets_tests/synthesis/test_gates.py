from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from conan_assets.data.tables import WRITTEN_PAIRS
from conan_assets.search.bm25 import BM25Retriever
from conan_assets.search.groups import Groups
from conan_assets.search.ranking import Neighbours
from conan_assets.search.retriever import Effort
from conan_assets.synthesis.gates import apply_gates, quotes
from conan_assets.synthesis.round_trip import GateTeacher
from conan_assets.synthesis.settings import Gates
from conan_assets_tests.data.frames import as_written, make_corpus, make_pairs

CORPUS = pl.concat(
    [
        make_corpus(
            "Cats purr when they are content, and they sleep for most of the day.",
            "Dogs bark at strangers and at the moon, and some of them herd sheep.",
            "Birds sing at dawn, before anybody else is awake.",
        ),
        make_corpus("猫在满足的时候会打呼噜，一天中大部分时间都在睡觉。", dataset="zh"),
    ]
)
LANGUAGES = {"wiki": "en", "zh": "zh"}


def question(query: str, passage: str = "wiki:d1", **changes) -> dict:
    return {"query": query, "doc_id": passage, "dataset": passage.split(":")[0]} | changes


def gate(*rows: dict, teacher=None, **settings) -> tuple[list[str], dict[str, int], dict]:
    """Return the queries kept, what was removed by reason, and the report."""
    passages = [row.pop("passage_id", row["doc_id"]) for row in rows]
    written = as_written(make_pairs(*rows).with_columns(passage_id=pl.Series(passages, dtype=pl.String)))
    kept, report = apply_gates(Gates(**settings), written, CORPUS, LANGUAGES, teacher)
    assert kept.columns == written.columns
    assert report["written"] == report["pairs"] + report["rejected"] == len(rows)
    removed = {row["reason"]: row["pairs"] for row in report["rejected_by_reason"] if row["pairs"]}
    return kept["query"].to_list(), removed, report


class FixedRetriever:
    """Finds as many documents before a query's own one as the number at its end says, less one."""

    def __init__(self, documents: Sequence[str]) -> None:
        self.effort = Effort()

    def search(self, queries: Sequence[str], k: int, excluded: Groups) -> Neighbours:
        ranks = np.array([int(query.split()[-1]) for query in queries])
        scores = np.where(np.arange(1, k + 1) < ranks[:, None], 2, -2).astype(np.float32)
        return Neighbours(np.full(scores.shape, 99), scores)

    def score(self, queries: Sequence[str], rows: np.ndarray, documents: np.ndarray) -> np.ndarray:
        return np.array([1 - int(queries[row].split()[-1]) / 10 for row in rows], np.float32)


FIXED = GateTeacher(FixedRetriever, gives_cosines=True)


def test_a_question_that_quotes_its_passage_is_removed():
    kept, removed, _ = gate(question("They  sleep for MOST of the day?"), question("How long do cats sleep each day?"))
    assert kept == ["How long do cats sleep each day?"]
    assert removed == {"quotes_passage": 1}


def test_a_question_that_quotes_its_second_passage_is_removed():
    kept, removed, _ = gate(
        question("Who sleeps, and some of them herd sheep?", second_passage_id="wiki:d2"),
        question("Some of them herd sheep?", second_passage_id="wiki:d2"),
    )
    assert (len(kept), removed) == (1, {"quotes_passage": 1})


def test_a_term_that_stands_in_the_passage_is_no_quotation():
    assert not quotes("cats purr", CORPUS["text"][0])
    assert quotes("Cats purr when they are content.", CORPUS["text"][0])
    assert not quotes("大部分时间", CORPUS["text"][3])
    assert quotes("猫在满足的时候会打呼噜?", CORPUS["text"][3])


def test_questions_in_another_language_than_their_passage_are_removed():
    kept, removed, _ = gate(
        question("猫为什么会打呼噜？"),
        question("Warum schnurren Katzen, wenn sie zufrieden sind?"),
        question("猫为什么会打呼噜？", "zh:d1"),
        question("Why do cats purr when they are pleased?", "zh:d1"),
    )
    assert kept == ["猫为什么会打呼噜？"]
    assert removed == {"other_language": 3}


def test_without_a_stated_language_the_passage_tells_it():
    written = as_written(make_pairs(question("猫为什么会打呼噜？")).with_columns(passage_id=pl.lit("wiki:d1")))
    _, report = apply_gates(Gates(), written, CORPUS, {}, None)
    assert report["rejected_by_reason"][1] == {"reason": "other_language", "pairs": 1}


def test_near_duplicate_questions_about_a_passage_and_equal_ones_of_a_dataset_are_removed():
    kept, removed, _ = gate(
        question("How long do cats sleep on an ordinary day?"),
        question("How long do cats sleep on any ordinary day?"),
        question("How long do cats sleep on a ordinary day?", "wiki:d2"),
        question("how long do cats sleep on an ordinary day?", "wiki:d3"),
    )
    assert kept == ["How long do cats sleep on an ordinary day?", "How long do cats sleep on a ordinary day?"]
    assert removed == {"near_duplicate": 2}


def test_near_duplicates_are_found_among_short_chinese_questions():
    kept, removed, _ = gate(
        question("猫为什么会打呼噜？", "zh:d1"),
        question("猫为什么会打呼噜呢？", "zh:d1"),
        question("狗为什么会叫？", "zh:d1"),
    )
    assert kept == ["猫为什么会打呼噜？", "狗为什么会叫？"]
    assert removed == {"near_duplicate": 1}


def test_a_response_in_another_language_is_removed():
    response = {"doc_id": None, "passage_id": "wiki:d1", "text": "猫在满足的时候会打呼噜。"}
    _, removed, _ = gate(question("Explain why cats purr.", **response))
    assert removed == {"other_language": 1}


def test_a_removed_question_removes_no_other():
    quoted = "they are content, and they sleep for most of the day"
    kept, removed, _ = gate(question(quoted), question(f"Is it true that {quoted}?"))
    assert len(kept) == 1
    assert removed == {"quotes_passage": 1}


def test_graded_sentences_are_near_duplicates_only_when_both_are():
    def graded(one: str, two: str) -> dict:
        return question(one, text=two, doc_id=None, passage_id="wiki:d1", task="sts", score=1.0)

    kept, removed, _ = gate(
        graded("The cat sleeps on the warm chair.", "A dog barks at night."),
        graded("The cat sleeps on the warm chair.", "Somebody is resting there."),
        graded("The cat sleeps on the warm chair.", "A dog barks at night!"),
        teacher=FIXED,
    )
    assert (len(kept), removed) == (2, {"near_duplicate": 1})


def test_a_question_must_find_its_passage_among_the_first_k():
    kept, removed, report = gate(
        question("Who herds the sheep that bark 1"),
        question("Which animal likes the moon 3"),
        question("What happens near the farm 4"),
        teacher=FIXED,
        top_k=3,
    )
    assert len(kept) == 2
    assert removed == {"not_retrieved": 1}
    assert report["rejected_examples"][0]["rank"] == 4
    assert report["mean_rank_of_kept"] == 2


@pytest.mark.parametrize(("threshold", "count"), [(0.4, 2), (0.7, 1), (-1.0, 3)])
def test_pairs_below_the_teacher_score_are_removed_and_responses_are_scored_too(threshold, count):
    response = {"doc_id": None, "passage_id": "wiki:d1", "text": "They are pleased."}
    kept, removed, report = gate(
        question("Who is pleased with a warm chair 1"),
        question("Explain what a cat does when content 5", **response),
        question("Describe the mood of the animal 7", **response),
        teacher=FIXED,
        min_teacher_score=threshold,
    )
    assert len(kept) == count
    assert removed == ({"low_teacher_score": 3 - count} if count < 3 else {})
    assert report["mean_teacher_score_of_kept"] > threshold


def test_bm25_makes_the_round_trip_and_sets_no_score():
    kept, removed, report = gate(
        question("When do cats purr?"),
        question("Which animals bark at the moon?"),
        teacher=GateTeacher(BM25Retriever, gives_cosines=False),
        top_k=1,
    )
    assert kept == ["When do cats purr?"]
    assert removed == {"not_retrieved": 1}
    assert "mean_teacher_score_of_kept" not in report


def test_without_a_teacher_its_gates_are_not_named():
    _, _, report = gate(question("When do cats purr?"))
    assert [row["reason"] for row in report["rejected_by_reason"]] == [
        "quotes_passage",
        "other_language",
        "near_duplicate",
    ]


def test_no_pair_at_all_gives_a_report_of_zeros():
    written = pl.DataFrame(schema=dict(WRITTEN_PAIRS.columns))
    kept, report = apply_gates(Gates(), written, CORPUS, LANGUAGES, FIXED)
    assert (kept.height, report["written"], report["rejected"]) == (0, 0, 0)
