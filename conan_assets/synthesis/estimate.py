"""What a generation would send and cost, before anything is sent."""

from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from conan_assets.synthesis.client import estimate_tokens, journal_key
from conan_assets.synthesis.generation import JOURNAL
from conan_assets.synthesis.journal import Journal
from conan_assets.synthesis.llm import about, prompt_of
from conan_assets.synthesis.passages import choose_passages
from conan_assets.synthesis.settings import OpenAIGeneration


def estimate_generation(
    settings: OpenAIGeneration, corpus: pl.DataFrame, pairs: pl.DataFrame, journal_folder: Path
) -> dict[str, Any]:
    """Return calls, tokens and cost of writing ``max_pairs`` pairs, if every first answer is valid; sends nothing.

    Prompts are estimated from above by their characters, answers counted at their longest. Prompts that the journal
    answers cost nothing.
    """
    passages = about(settings, choose_passages(corpus, pairs, settings.seed))
    prompts = [
        prompt_of(settings, passage)
        for passage in islice(passages, -(-settings.max_pairs // settings.pairs_per_passage))
    ]
    with Journal(journal_folder / JOURNAL) as journal:
        unanswered = [prompt for prompt in prompts if journal.find(journal_key(settings, prompt)) is None]
    prompt_tokens = sum(estimate_tokens(prompt) for prompt in unanswered)
    completion_tokens = len(unanswered) * settings.max_completion_tokens
    return {
        "pairs": min(settings.max_pairs, len(prompts) * settings.pairs_per_passage),
        "calls": len(unanswered),
        "answered_by_the_journal": len(prompts) - len(unanswered),
        "prompt_tokens": prompt_tokens,
        "completion_tokens_at_most": completion_tokens,
        "cost_at_most": round(settings.budget.price(prompt_tokens, completion_tokens), 4),
    }
