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
from conan_assets.synthesis.estimated_calls import TOKENS_PER_PAIR, Call, gradings, negatives
from conan_assets.synthesis.passages import NO_DOCUMENTS, choose_passages, passages_to_ask_about, prompt_about
from conan_assets.synthesis.settings import OpenAIGeneration

CHARS_PER_TOKEN = 4.0
CHARS_PER_CHINESE_TOKEN = 1.2
"""Typical figures of today's tokenizers."""

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
    long as the journal's so far. Grades are counted for what is not written yet; hard negatives for every question
    that has none yet, also if a gate removes it. Prompts that the journal answers cost nothing.
    Prices of 0 give a cost of 0.
    """
    passages = passages_to_ask_about(settings, choose_passages(corpus, pairs, settings.seed, documents))
    needed = -(-settings.max_pairs // settings.pairs_per_passage)
    prompts = {passage: prompt_about(settings, passage) for passage in islice(passages, needed)}
    answers = AnswerJournal.answers_in(journal_folder / JOURNAL)
    new = {about: prompt for about, prompt in prompts.items() if journal_key(settings, prompt) not in answers}
    calls = [*map(Call, new.values()), *gradings(settings, new), *negatives(settings, prompts, answers)]
    longest, typical = settings.max_completion_tokens, _tokens_of_answer(settings, answers)
    at_most = sum(estimate_tokens(call.prompt) + call.answers * longest for call in calls), len(calls) * longest
    expected = (
        sum(_typical_tokens(call.prompt) + call.tokens for call in calls),
        round(sum(typical if call.answer is None else min(call.answer, longest) for call in calls)),
    )
    return {
        "model": settings.model,
        "pairs": min(settings.max_pairs, len(prompts) * settings.pairs_per_passage),
        "calls": len(calls),
        "answered_by_the_journal": len(prompts) - len(new),
        "prompt_tokens_expected": expected[0],
        "prompt_tokens_at_most": at_most[0],
        "completion_tokens_expected": expected[1],
        "completion_tokens_at_most": at_most[1],
        "cost_expected": round(settings.budget.price(*expected), 4),
        "cost_at_most": round(settings.budget.price(*at_most), 4),
    }


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
