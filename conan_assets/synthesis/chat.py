"""Prompts asked one by one, many at a time, no faster than the endpoint allows."""

import asyncio
from contextvars import ContextVar

from conan_assets.synthesis.client import Client, estimate_tokens, request_body, to_answer
from conan_assets.synthesis.endpoint import Endpoint
from conan_assets.synthesis.journal import Answer, Journal
from conan_assets.synthesis.limits import RateLimiter
from conan_assets.synthesis.prompts import Messages
from conan_assets.synthesis.settings import OpenAIGeneration

_TOKENS: ContextVar[int] = ContextVar("tokens of the call that is being made")


class ChatClient(Client):
    """One call for each prompt; every request waits for its turn, the SDK's retries too.

    Parameters
    ----------
    settings
        Model, endpoint, limits and budget.
    journal
        Open journal.
    """

    def __init__(self, settings: OpenAIGeneration, journal: Journal) -> None:
        super().__init__(settings, journal, Endpoint(settings, self._wait_for_turn), settings.calls.concurrency)
        self._slots = asyncio.Semaphore(settings.calls.concurrency)
        self._rate = RateLimiter(settings.calls)

    async def _ask(self, key: str, messages: Messages) -> Answer:
        async with self._slots:
            _TOKENS.set(estimate_tokens(messages) + self._settings.max_completion_tokens)
            with self.endpoint.errors():
                completion = await self.endpoint.client.chat.completions.create(
                    **request_body(self._settings, messages)
                )
            answer = to_answer(completion, messages)
            self._journal.record(key, answer)
            return answer

    async def _wait_for_turn(self, request: object) -> None:
        await self._rate.wait(_TOKENS.get())
