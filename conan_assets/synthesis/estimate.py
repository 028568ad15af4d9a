"""What a generation would send and cost, before anything is sent."""

from collections.abc import Collection, Mapping
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Any

import polars as pl

from conan_assets.data.settings import UnaskedSource
from conan_assets.llm.completions import Messages, estimate_tokens, journal_key
from conan_assets.llm.journal import JOURNAL, Answer, AnswerJournal
from conan_assets.synthesis.grading import build_grading_prompt
from conan_assets.synthesis.passages import NO_DOCUMENTS, Passage, choose_passages, passages_to_ask_about, prompt_about
from conan_assets.synthesis.settings import OpenAIGeneration

CHARS_PER_TOKEN = 4.0
CHARS_PER_CHINESE_TOKEN = 1.2
TOKENS_PER_PAIR = 40
"""Typical figures of today's tokenizers and of the answers that the templates ask for."""

FIRST_CHINESE_CHARACTER = "\u2e80"


def estimate_generation(
    settings: OpenAIGeneration,
    corpus: pl.DataFrame,
    pairs: pl.DataFrame,
    journal_folder: Path,
    documents: Mapping[str, UnaskedSource] = NO_DOCUMENTS,
) -> dict[str, Any]:
    """Return calls, tokens and cost of writing ``max_pairs`` pairs, if every first answer is valid; sends nothing.

    At most: prompts from above by their characters, answers at their longest. Expected: by typical tokens, answers as
    long as the journal's so far. Grades are counted for what is not written yet. Prompts that the
    journal answers cost nothing. Prices of 0 give a cost of 0.
    """
    passages = passages_to_ask_about(settings, choose_passages(corpus, pairs, settings.seed, documents))
    needed = -(-settings.max_pairs // settings.pairs_per_passage)
    prompts = {passage: prompt_about(settings, passage) for passage in islice(passages, needed)}
    answers = AnswerJournal.answers_in(journal_folder / JOURNAL)
    new = {about: prompt for about, prompt in prompts.items() if journal_key(settings, prompt) not in answers}
    gradings = _gradings(settings, new)
    asked = [*new.values(), *gradings]
    calls, written_tokens = len(asked), len(gradings) * settings.max_completion_tokens
    at_most = sum(map(estimate_tokens, asked)) + written_tokens, calls * settings.max_completion_tokens
    expected = (
        sum(map(_typical_tokens, asked)) + len(gradings) * TOKENS_PER_PAIR * settings.pairs_per_passage,
        round(calls * _tokens_of_answer(settings, answers)),
    )
    return {
        "model": settings.model,
        "pairs": min(settings.max_pairs, len(prompts) * settings.pairs_per_passage),
        "calls": calls,
        "answered_by_the_journal": len(prompts) - len(new),
        "prompt_tokens_expected": expected[0],
        "prompt_tokens_at_most": at_most[0],
        "completion_tokens_expected": expected[1],
        "completion_tokens_at_most": at_most[1],
        "cost_expected": round(settings.budget.price(*expected), 4),
        "cost_at_most": round(settings.budget.price(*at_most), 4),
    }


def _gradings(settings: OpenAIGeneration, passages: Collection[Passage]) -> list[Messages]:
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
    return prompts


def _typical_tokens(messages: Messages) -> int:
    texts = [message["content"] for message in messages]
    chinese = sum(character >= FIRST_CHINESE_CHARACTER for text in texts for character in text)
    others = sum(map(len, texts)) - chinese
    return round(chinese / CHARS_PER_CHINESE_TOKEN + others / CHARS_PER_TOKEN)


def _tokens_of_answer(settings: OpenAIGeneration, answers: dict[str, Answer]) -> float:
    """Return the mean length of the journal's answers, a typical one where it holds none."""
    lengths: Collection[int] = [answer.completion_tokens for answer in answers.values()]
    return (
        mean(lengths) if lengths else min(TOKENS_PER_PAIR * settings.pairs_per_passage, settings.max_completion_tokens)
    )
