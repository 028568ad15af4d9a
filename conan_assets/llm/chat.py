"""Prompts asked one by one, many at a time, no faster than the endpoint allows."""

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from conan_assets.llm.completions import Messages, estimate_tokens, record, request_body, to_answer
from conan_assets.llm.endpoint import Endpoint, NoCompletionError, ParameterRefusedError, backoff_seconds
from conan_assets.llm.journal import Answer, AnswerJournal
from conan_assets.llm.limits import RateLimiter
from conan_assets.llm.settings import LanguageModel

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion

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
        self._under_way: set[asyncio.Task[Any]] = set()
        self._is_stopped = False
        self._settings = settings
        self._journal = journal
        self._slots = asyncio.Semaphore(settings.calls.concurrency)
        self._rate = RateLimiter(settings.calls)

    async def ask(self, key: str, messages: Messages) -> Answer:
        """Return the endpoint's answer, recorded in the journal; raise CallError or EndpointError."""
        async with self._slots:
            _TOKENS.set(estimate_tokens(messages) + self._settings.max_completion_tokens)
            try:
                return record(self._journal, self._settings, messages, await self._answer(messages))
            finally:
                self._under_way.discard(_this_task())

    def stop(self) -> set[asyncio.Task[Any]]:
        """Let no request leave any more; return the tasks whose request has left: it is paid for."""
        self._is_stopped = True
        return set(self._under_way)

    async def _answer(self, messages: Messages) -> Answer:
        """Call until a completion comes, at most as often as the SDK tries again when none does."""
        for attempt in range(self._settings.calls.max_retries + 1):
            try:
                return to_answer(await self._call(messages), messages)
            except NoCompletionError:
                if attempt == self._settings.calls.max_retries:
                    raise
                await asyncio.sleep(backoff_seconds(attempt))
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _call(self, messages: Messages) -> "ChatCompletion":
        sent = self.endpoint.token_limit
        try:
            return await self._create(messages, sent)
        except ParameterRefusedError as refused:
            if not self.endpoint.rename_token_limit(refused, sent):
                raise
        return await self._create(messages, self.endpoint.token_limit)

    async def _create(self, messages: Messages, token_limit: str) -> "ChatCompletion":
        with self.endpoint.errors():
            completion: ChatCompletion = await self.endpoint.client.chat.completions.create(
                **request_body(self._settings, messages, token_limit)
            )
            return completion

    async def _wait_for_turn(self, request: object) -> None:
        self._under_way.discard(_this_task())
        await self._rate.wait(_TOKENS.get())
        if self._is_stopped:
            raise asyncio.CancelledError
        self._under_way.add(_this_task())


def _this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None, "every call is made by a task"
    return task
