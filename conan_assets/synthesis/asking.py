"""Ask many prompts at once, outside of pair writing: the same endpoint, limits, budget and journal."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conan_assets.synthesis.client import Client
from conan_assets.synthesis.connect import open_client
from conan_assets.synthesis.endpoint import CallError
from conan_assets.synthesis.generation import JOURNAL
from conan_assets.synthesis.journal import Journal
from conan_assets.synthesis.limits import BudgetSpentError
from conan_assets.synthesis.prompts import Messages
from conan_assets.synthesis.settings import OpenAIGeneration


class Asker:
    """Answers prompts in order, however often it is called within one budget.

    Answers are recorded in the journal, and none is asked for twice; like everywhere, recorded ones count as spent.

    Parameters
    ----------
    settings
        Endpoint, model and budget.
    journal_folder
        Folder of the journal.
    """

    def __init__(self, settings: OpenAIGeneration, journal_folder: Path) -> None:
        self._settings = settings
        self._journal = journal_folder / JOURNAL
        self._unanswered: Counter[str] = Counter()
        self._prompt_tokens = self._completion_tokens = 0

    def __call__(self, prompts: Sequence[Messages]) -> list[str | None]:
        """Return the answers, None where a call failed or the budget was spent.

        Raises EndpointError if the endpoint refuses all.
        """
        with Journal(self._journal) as journal:
            return asyncio.run(self._answers(journal, prompts))

    def report(self) -> dict[str, Any]:
        """Return what all calls together used, and how many prompts have no answer by reason."""
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": self._completion_tokens,
            "cost": round(self._settings.budget.price(self._prompt_tokens, self._completion_tokens), 6),
            "unanswered_by_reason": dict(self._unanswered),
        }

    async def _answers(self, journal: Journal, prompts: Sequence[Messages]) -> list[str | None]:
        async with open_client(self._settings, journal) as client:
            spent = client.spending
            spent.add(self._prompt_tokens, self._completion_tokens)
            answers = await asyncio.gather(*(self._answer(client, messages) for messages in prompts))
            self._prompt_tokens, self._completion_tokens = spent.prompt_tokens, spent.completion_tokens
        return list(answers)

    async def _answer(self, client: Client, messages: Messages) -> str | None:
        try:
            return (await client.answer(messages)).content
        except CallError as error:
            self._unanswered[error.reason] += 1
        except BudgetSpentError:
            self._unanswered["budget_spent"] += 1
        return None
