"""Prompts asked one by one, many at a time, no faster than the endpoint allows."""

import asyncio
from contextvars import ContextVar

from conan_assets.llm.completions import Messages, estimate_tokens, request_body, to_answer
from conan_assets.llm.endpoint import Endpoint
from conan_assets.llm.journal import Answer, AnswerJournal
from conan_assets.llm.limits import RateLimiter
from conan_assets.llm.settings import LanguageModel

_TOKENS: ContextVar[int] = ContextVar("tokens of the call that is being made")


class ChatCalls:
    """One call for each prompt; every request waits for its turn, the SDK's retries too.

    Parameters
    ----------
    settings
        Model, endpoint and limits.
    journal
        Open journal.

    Attributes
    ----------
    endpoint
        The server.
    concurrency
        Prompts worth asking at once.
    """

    def __init__(self, settings: LanguageModel, journal: AnswerJournal) -> None:
        self.endpoint = Endpoint(settings, self._wait_for_turn)
        self.concurrency = settings.calls.concurrency
        self._settings = settings
        self._journal = journal
        self._slots = asyncio.Semaphore(settings.calls.concurrency)
        self._rate = RateLimiter(settings.calls)

    async def ask(self, key: str, messages: Messages) -> Answer:
        """Return the endpoint's answer, recorded in the journal; raise CallError or EndpointError."""
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
