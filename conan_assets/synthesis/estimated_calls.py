"""The calls that follow the writing of questions: those that grade them, and those for hard negatives."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from conan_assets.llm.completions import Messages, journal_key
from conan_assets.llm.journal import Answer
from conan_assets.llm.parsing import AnswerError
from conan_assets.synthesis.grading import build_grading_prompt
from conan_assets.synthesis.passages import Passage
from conan_assets.synthesis.settings import OpenAIGeneration
from conan_assets.synthesis.tasks import Question, read_pairs
from conan_assets.synthesis.written_negatives import build_negatives_prompt

TOKENS_PER_PAIR = 40
TOKENS_PER_NEGATIVE = 100
"""Of typical answers that the templates ask for."""


class Call(NamedTuple):
    """A prompt with how many answers will stand in it that are not there yet, and their typical tokens.

    ``answer`` is its own typical answer in tokens, None for one like the journal's.
    """

    prompt: Messages
    answers: int = 0
    tokens: int = 0
    answer: int | None = None


def gradings(settings: OpenAIGeneration, passages: Collection[Passage]) -> list[Call]:
    """Return the prompts that ask for grades, without the questions that are not written yet.

    Other passages that may answer a held-out question are taken to be as long as its own.
    """
    gates, prompts = settings.gates, list[Messages]()
    for passage in passages:
        is_held_out = passage.split != "train"
        if passage.task == "question" and (is_held_out or passage.second_id is not None or gates.min_grade is not None):
            others = settings.pairs_per_passage * gates.other_positives if is_held_out else 0
            prompts += [build_grading_prompt(settings.prompt_language, passage.text, [])] * (1 + others)
            if passage.second_id is not None:
                texts = (passage.second_text, f"{passage.text}\n\n{passage.second_text}")
                prompts += [build_grading_prompt(settings.prompt_language, text, []) for text in texts]
    return [Call(prompt, 1, TOKENS_PER_PAIR * settings.pairs_per_passage) for prompt in prompts]


def negatives(
    settings: OpenAIGeneration, prompts: Mapping[Passage, Messages], answers: Mapping[str, Answer]
) -> list[Call]:
    """Return the prompts that ask for hard negatives of the questions of ``prompts``, and those that grade them."""
    count, calls = settings.hard_negatives_per_question, list[Call]()
    for passage, prompt in prompts.items() if count else ():
        if passage.task != "question" or passage.split != "train" or passage.second_id is not None:
            continue
        for question in _questions(settings, prompt, answers):
            asked = build_negatives_prompt(settings, passage.text, question)
            if journal_key(settings, asked) in answers:
                continue
            new = 0 if question else 1
            grading = build_grading_prompt(settings.prompt_language, "", [question])
            calls.append(Call(asked, new, new * TOKENS_PER_PAIR, count * TOKENS_PER_NEGATIVE))
            calls += [Call(grading, new + 1, new * TOKENS_PER_PAIR + TOKENS_PER_NEGATIVE)] * count
    return calls


def _questions(settings: OpenAIGeneration, prompt: Messages, answers: Mapping[str, Answer]) -> Sequence[str]:
    """Return the questions that answer a prompt, blank ones if they are not written yet."""
    answer, count = answers.get(journal_key(settings, prompt)), settings.pairs_per_passage
    try:
        written = read_pairs(answer, "question", prompt) if answer is not None else ()
    except AnswerError:
        written = ()
    return [item.question for item in written if isinstance(item, Question)][:count] or [""] * count
