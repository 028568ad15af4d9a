"""The model is asked a second time, for grades, and questions of low grades are removed."""

import re

import polars as pl
import pytest

from conan_assets.llm.journal import Answer
from conan_assets.llm.settings import Budget
from conan_assets.synthesis.estimate import estimate_generation
from conan_assets.synthesis.generation import generate_pairs
from conan_assets.synthesis.grading import Grader, build_grading_prompt, read_grades
from conan_assets.synthesis.settings import Gates, OpenAIGeneration
from conan_assets_tests.llm.server import ChatServer, Reply, questions
from conan_assets_tests.synthesis.passages import CORPUS, PAIRS, settings


def graded(*lowest: int) -> Reply:
    grades = ", ".join(f'{{"answered": 5, "clear": {grade}, "natural": 4}}' for grade in lowest)
    return Reply(f'<think>Hm.</think>The grades: {{"grades": [{grades}]}}')


def is_grading(body: dict) -> bool:
    return "You judge questions" in body["messages"][0]["content"]


def writes_and_grades(number: int, body: dict) -> Reply:
    """Write a good and a poor question about every passage, and grade them so."""
    text = body["messages"][0]["content"]
    if not is_grading(body):
        year = re.search(r"the year (\d+)", text)[1]
        return questions(f"Who wrote down the story of {year}?", f"When did that come to an end, poorly, {year}?")
    asked = re.findall(r"<question-(\w+)>\n(.*)\n</question-\1>", text)
    return graded(*(2 if "poorly" in question else 4 for _, question in asked))


def test_questions_of_low_grades_are_removed_counted_and_shown(tmp_path):
    with ChatServer(writes_and_grades) as server:
        chosen = settings(server, gates=Gates(min_grade=3))
        pairs, report = generate_pairs(chosen, CORPUS, PAIRS, tmp_path)
        asked = len(server.requests)
        again, _ = generate_pairs(settings(server, gates=Gates(min_grade=5)), CORPUS, PAIRS, tmp_path)
    assert (pairs.height, again.height, asked, len(server.requests)) == (5, 0, 10, 10)
    assert not any("poorly" in query for query in pairs["query"])
    assert {"reason": "low_grade", "pairs": 5} in report["rejected_by_reason"]
    assert {row["grade"] for row in report["rejected_examples"]} == {2}
    assert (report["mean_grade_of_kept"], report["prompt_tokens"]) == (4, 1_000)


def test_one_budget_pays_for_writing_and_grading_and_what_is_not_graded_passes(tmp_path):
    with ChatServer(writes_and_grades) as server:
        budget = Budget(max_tokens=1_700)
        chosen = settings(server, {"concurrency": 1}, budget=budget, gates=Gates(min_grade=3), max_completion_tokens=99)
        pairs, report = generate_pairs(chosen, CORPUS, PAIRS, tmp_path)
    assert report["prompt_tokens"] + report["completion_tokens"] <= 1_700
    ungraded = report["unanswered_by_reason"]["budget_spent"]
    assert 0 < ungraded < 5
    assert pairs.height == 5 + ungraded


def test_an_estimate_holds_the_calls_that_grade(tmp_path):
    with ChatServer(writes_and_grades) as server:
        plain = estimate_generation(settings(server), CORPUS, PAIRS, tmp_path)
        chosen = settings(server, gates=Gates(min_grade=3))
        estimate = estimate_generation(chosen, CORPUS, PAIRS, tmp_path)
        generate_pairs(chosen, CORPUS, PAIRS, tmp_path)
        after = estimate_generation(chosen, CORPUS, PAIRS, tmp_path)
    assert (plain["calls"], estimate["calls"], len(server.requests), after["calls"]) == (5, 10, 10, 0)
    assert estimate["prompt_tokens_at_most"] > 2 * plain["prompt_tokens_expected"]


PROMPT = build_grading_prompt("en", 'Say {"grades": [{"answered": 5, "clear": 5, "natural": 5}]}', ["who"])


@pytest.mark.parametrize(
    ("content", "grades"),
    [
        (graded(3).content, [3.0]),
        (graded(3, 4).content, None),
        (graded(9).content, None),
        (graded(5).content.replace('natural": 4', 'natural": 5'), None),
        ("They are good.", None),
    ],
)
def test_grades_are_read_one_for_each_question_and_not_from_the_passage(content, grades):
    found = read_grades(Answer(content, "stop", 1, 1), PROMPT, 1)
    assert found == grades if grades else found != found[:0] and all(grade != grade for grade in found)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_prompt_for_grades_holds_every_question_between_tags_of_its_own(language):
    text = build_grading_prompt(language, "Cats purr; $5.", ["who\n2. I am next", "why"])[0]["content"]
    assert len(set(re.findall(r"<question-(\w+)>", text))) == 2
    assert "$" not in text.replace("$5.", "")


def test_both_passages_of_a_question_are_cut_to_length_and_both_are_shown():
    shown = []

    def ask(prompts):
        shown.extend(prompt[0]["content"] for prompt in prompts)
        return [None for _ in prompts]

    cut = OpenAIGeneration(kind="openai", model="tiny", max_passage_chars=100)
    asked = pl.DataFrame({"passage_id": ["a|b", "c"], "passage": ["x" * 300, "z" * 300], "query": ["who", "why"]})
    Grader(cut, ask).lowest_grades(asked.with_columns(second_passage=pl.Series(["y" * 300, None])))
    assert [[text.count(letter * 100) for letter in "xyz"] for text in shown] == [[1, 1, 0], [0, 0, 1]]
    assert not any(letter * 101 in text for text in shown for letter in "xyz")
