"""Ask many prompts at once, outside of pair writing: the same endpoint, limits, budget and journal."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from conan_assets.synthesis.connect import open_client
from conan_assets.synthesis.endpoint import CallError
from conan_assets.synthesis.generation import JOURNAL
from conan_assets.synthesis.journal import Journal
from conan_assets.synthesis.limits import BudgetSpentError
from conan_assets.synthesis.prompts import Messages
from conan_assets.synthesis.settings import OpenAIGeneration


def asker(settings: OpenAIGeneration, journal_folder: Path) -> Callable[[Sequence[Messages]], list[str | None]]:
    """Return a function that answers prompts in order; None where a call failed or the budget was spent.

    Answers are recorded in the journal, and none is asked for twice. Raises EndpointError if the endpoint refuses all.
    """

    def ask(prompts: Sequence[Messages]) -> list[str | None]:
        with Journal(journal_folder / JOURNAL) as journal:
            return asyncio.run(_answers(settings, journal, prompts))

    return ask


async def _answers(settings: OpenAIGeneration, journal: Journal, prompts: Sequence[Messages]) -> list[str | None]:
    async with open_client(settings, journal) as client:

        async def answer(messages: Messages) -> str | None:
            try:
                return (await client.answer(messages)).content
            except (CallError, BudgetSpentError):
                return None

        return list(await asyncio.gather(*(answer(messages) for messages in prompts)))
