"""A chat client that never asks the same prompt twice and never spends more than its budget."""

import asyncio
import os
from collections import Counter
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

from conan_assets.artifacts import fingerprint
from conan_assets.synthesis.journal import Answer, Journal
from conan_assets.synthesis.limits import RateLimiter, Spending
from conan_assets.synthesis.prompts import Messages
from conan_assets.synthesis.settings import OpenAIGeneration

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

API_KEY = "OPENAI_API_KEY"
BASE_URL = "OPENAI_BASE_URL"
CHARS_PER_TOKEN = 1.5
"""Fewest characters of a token in a mixed text; estimates of a prompt's tokens lie above the truth."""


class EndpointError(RuntimeError):
    """The endpoint refuses every call: no key, a wrong key, no such model."""


class CallError(RuntimeError):
    """One call failed after the SDK's retries; ``reason`` is the name it is counted under."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ChatClient:
    """Answers from the journal, else from the endpoint; use as an asynchronous context manager.

    Parameters
    ----------
    settings
        Model, endpoint, limits and budget.
    journal
        Open journal; every answer is recorded in it before it is returned.

    Raises
    ------
    EndpointError
        There is no API key and no endpoint that might need none.
    """

    def __init__(self, settings: OpenAIGeneration, journal: Journal) -> None:
        from openai import AsyncOpenAI

        self._settings = settings
        self._journal = journal
        self._key = os.environ.get(API_KEY, "")
        self.base_url = settings.base_url or os.environ.get(BASE_URL)
        if not self._key and not self.base_url:
            raise EndpointError(
                f"set ${API_KEY} for OpenAI's endpoint, or generation.base_url (or ${BASE_URL}) for another"
            )
        self._client = AsyncOpenAI(
            api_key=self._key or "none",
            base_url=self.base_url,
            timeout=settings.calls.timeout_seconds,
            max_retries=settings.calls.max_retries,
        )
        self._slots = asyncio.Semaphore(settings.calls.concurrency)
        self._rate = RateLimiter(settings.calls)
        self.spending = Spending(settings.budget)
        self.counts: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.close()

    async def answer(self, messages: Messages) -> Answer:
        """Return the answer to ``messages``.

        Raises
        ------
        BudgetSpentError
            The call could exceed the budget; it was not made.
        CallError
            The call failed after the SDK's retries; asking again later may help.
        EndpointError
            The endpoint refuses every call.
        """
        answer = self._journal.find(journal_key(self._settings, messages))
        if answer is None:
            return await self._ask(messages)
        self.counts["answers_from_journal"] += 1
        self.spending.add(answer.prompt_tokens, answer.completion_tokens)
        return answer

    async def _ask(self, messages: Messages) -> Answer:
        prompt_tokens, completion_tokens = estimate_tokens(messages), self._settings.max_completion_tokens
        async with self._slots, self.spending.reserved(prompt_tokens, completion_tokens):
            await self._rate.wait(prompt_tokens + completion_tokens)
            answer = _to_answer(await self._complete(messages), prompt_tokens)
            self._journal.record(journal_key(self._settings, messages), answer)
            self.counts["answers_from_endpoint"] += 1
            self.spending.add(answer.prompt_tokens, answer.completion_tokens)
            return answer

    async def _complete(self, messages: Messages) -> "ChatCompletion":
        import openai

        try:
            return await self._client.chat.completions.create(
                model=self._settings.model,
                messages=cast("list[ChatCompletionMessageParam]", messages),
                temperature=self._settings.temperature,
                max_tokens=self._settings.max_completion_tokens,
            )
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise EndpointError(
                self._without_key(f"{self._where} refuses the model {self._settings.model!r}: {error}")
            ) from None
        except openai.APIStatusError as error:
            raise CallError(f"status_{error.status_code}", self._without_key(str(error))) from None
        except openai.APITimeoutError as error:
            raise CallError("timeout", self._without_key(str(error))) from None
        except openai.APIError as error:
            raise CallError("connection", self._without_key(str(error))) from None

    @property
    def _where(self) -> str:
        return self.base_url or "OpenAI's endpoint"

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def journal_key(settings: OpenAIGeneration, messages: Messages) -> str:
    """Return the journal's key of a prompt: a fingerprint of the prompt, the model and the parameters."""
    return fingerprint(messages, settings.model, settings.temperature, settings.max_completion_tokens)


def estimate_tokens(messages: Messages) -> int:
    """Return an upper estimate of the tokens of a prompt, from its characters."""
    return int(sum(len(message["content"]) for message in messages) / CHARS_PER_TOKEN) + 8 * len(messages)


def _to_answer(completion: "ChatCompletion", expected_prompt_tokens: int) -> Answer:
    if not completion.choices:
        raise CallError("no_choices", "the answer holds no choices")
    choice, usage = completion.choices[0], completion.usage
    content = choice.message.content or ""
    return Answer(
        content=content,
        finish_reason=choice.finish_reason or "",
        prompt_tokens=usage.prompt_tokens if usage else expected_prompt_tokens,
        completion_tokens=usage.completion_tokens if usage else int(len(content) / CHARS_PER_TOKEN),
        refusal=getattr(choice.message, "refusal", None),
    )
