"""Hard negatives that the model writes: asked for each question, kept where its grades say that they do not answer."""

import json

import pytest

from conan_assets.llm.parsing import enclose
from conan_assets.llm.settings import Budget
from conan_assets.synthesis.estimate import estimate_generation
from conan_assets.synthesis.generation import generate_pairs
from conan_assets.synthesis.settings import Gates, OpenAIGeneration
from conan_assets.synthesis.written_negatives import IS_NEGATIVE, build_negatives_prompt
from conan_assets_tests.llm.server import ChatServer, Reply
from conan_assets_tests.synthesis.passages import CORPUS, PAIRS, settings, with_negatives

ASKED = {"hard_negatives_per_question": 3, "gates": Gates(min_grade=3)}


def asks_for_negatives(body: dict) -> bool:
    return "do not answer it" in body["messages"][0]["content"]


def test_written_negatives_stand_beside_their_questions_and_those_that_answer_go(tmp_path):
    with ChatServer(with_negatives) as server:
        pairs, report = generate_pairs(settings(server, **ASKED), CORPUS, PAIRS, tmp_path)
    questions, negatives = pairs.filter(~IS_NEGATIVE), pairs.filter(IS_NEGATIVE)
    assert (questions.height, negatives.height, report["pairs"]) == (10, 20, 30)
    assert (report["hard_negatives_written"], report["hard_negatives"]) == (30, 20)
    assert report["hard_negatives_dropped"] == [{"reason": "answers_the_question", "passages": 10}]
    assert negatives.select("split", "score", "doc_id", "kind", "asked_for", "generator", "grade").unique().rows() == [
        ("train", 0.0, None, None, "en/hard_negatives", "tiny", 1.0)
    ]
    beside = negatives.join(questions, on=["query_id", "query", "passage_id"], how="semi")
    assert (beside.height, beside["pair_id"].n_unique(), beside["answer_key"].n_unique()) == (20, 20, 10)
    assert negatives["text"].is_in(CORPUS["text"].to_list()).any() is False
    assert {row["text"] for row in report["example_hard_negatives"]} <= set(negatives["text"])


def test_none_is_asked_for_twice_or_by_default_and_the_estimate_has_them(tmp_path):
    with ChatServer(with_negatives) as server:
        plain = settings(server, gates=Gates(min_grade=3))
        generate_pairs(plain, CORPUS, PAIRS, tmp_path)
        assert not any(map(asks_for_negatives, server.requests))
        before = len(server.requests)
        chosen = settings(server, **ASKED)
        fresh = estimate_generation(chosen, CORPUS, PAIRS, tmp_path / "none")
        later = estimate_generation(chosen, CORPUS, PAIRS, tmp_path)
        pairs, report = generate_pairs(chosen, CORPUS, PAIRS, tmp_path)
        asked = len(server.requests) - before
        again, _ = generate_pairs(chosen, CORPUS, PAIRS, tmp_path)
        after = estimate_generation(chosen, CORPUS, PAIRS, tmp_path)
    assert again.equals(pairs)
    assert len(server.requests) - before == asked == 40
    assert (fresh["calls"], later["calls"], after["calls"]) == (50, 40, 0)
    assert fresh["prompt_tokens_at_most"] > later["prompt_tokens_at_most"] > later["prompt_tokens_expected"] > 0
    assert report["prompt_tokens"] == 100 * len(server.requests)


def test_what_is_not_graded_or_not_readable_or_repeats_is_no_negative(tmp_path):
    def careless(number: int, body: dict) -> Reply:
        text = body["messages"][0]["content"]
        if asks_for_negatives(body):
            if "who wrote it" in text:
                return Reply("None comes to my mind.")
            passage = text.split("<passage-")[1].split(">\n")[1].split("\n<")[0]
            once = "Nothing is known of the harvest before the war of 1700."
            return Reply(json.dumps({"passages": [passage, once, once.upper()]}))
        if "of 1700" in text:
            return Reply("I would rather not.")
        return with_negatives(number, body)

    with ChatServer(careless) as server:
        pairs, report = generate_pairs(settings(server, **ASKED), CORPUS, PAIRS, tmp_path)
    assert pairs.filter(IS_NEGATIVE).is_empty()
    assert report["hard_negatives_unanswered"] == 5
    assert report["hard_negatives_dropped"] == [
        {"reason": "not_graded", "passages": 5},
        {"reason": "repeats", "passages": 10},
    ]


def test_the_budget_pays_for_them_too(tmp_path):
    with ChatServer(with_negatives) as server:
        budget = Budget(max_tokens=4_000)
        chosen = settings(server, {"concurrency": 1}, budget=budget, max_completion_tokens=99, **ASKED)
        pairs, report = generate_pairs(chosen, CORPUS, PAIRS, tmp_path)
    assert report["prompt_tokens"] + report["completion_tokens"] <= 4_000
    assert report["unanswered_by_reason"]["budget_spent"] > 0
    assert pairs.filter(~IS_NEGATIVE).height == 10
    assert pairs.filter(IS_NEGATIVE).height < 20


def test_without_grades_none_can_be_asked_for():
    with pytest.raises(ValueError, match=r"set gates\.min_grade"):
        OpenAIGeneration(kind="openai", model="tiny", hard_negatives_per_question=1)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_its_prompt_holds_question_passage_number_and_form_and_no_open_place(language):
    chosen = OpenAIGeneration(kind="openai", model="tiny", prompt_language=language, **ASKED)
    (message,) = build_negatives_prompt(chosen, "Cats purr.", "who purrs")
    text = message["content"]
    assert enclose("Cats purr.", "passage") in text
    assert enclose("who purrs", "question") in text
    assert '{"passages": [' in text
    assert " 3 " in text
    assert "$" not in text
