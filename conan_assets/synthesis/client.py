"""What every client does: never ask the same prompt twice, never spend more than the budget."""

import asyncio
from abc import ABC, abstractmethod
from collections import Counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from conan_assets.artifacts import fingerprint
from conan_assets.synthesis.endpoint import CallError, Endpoint
from conan_assets.synthesis.journal import Answer, Journal
from conan_assets.synthesis.limits import Spending
from conan_assets.synthesis.prompts import Messages
from conan_assets.synthesis.settings import OpenAIGeneration

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion

CHARS_PER_TOKEN = 1.5
"""Fewest characters of a token in a mixed text; estimates of a prompt's tokens lie above the truth."""


class Client(ABC):
    """Answers from the journal, else from an endpoint; use as an asynchronous context manager.

    Parameters
    ----------
    settings
        Model, parameters and budget.
    journal
        Open journal; every answer is recorded in it before it is returned.
    endpoint
        The server; closed with the client.
    concurrency
        Prompts worth asking at once; None for all there are.
    """

    def __init__(
        self, settings: OpenAIGeneration, journal: Journal, endpoint: Endpoint, concurrency: int | None
    ) -> None:
        self._settings = settings
        self._journal = journal
        self.concurrency = concurrency
        self._in_flight: dict[str, asyncio.Task[Answer]] = {}
        self.endpoint = endpoint
        self.spending = Spending(settings.budget)
        self.counts: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.endpoint.client.close()

    @abstractmethod
    async def _ask(self, key: str, messages: Messages) -> Answer:
        """Return the endpoint's answer, recorded in the journal; raise CallError or EndpointError."""

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
        key = journal_key(self._settings, messages)
        answer = self._journal.find(key)
        if answer is None:
            if key not in self._in_flight:
                self._in_flight[key] = asyncio.create_task(self._pay(key, messages))
                self._in_flight[key].add_done_callback(lambda _: self._in_flight.pop(key))
            return await self._in_flight[key]
        self.counts["answers_from_journal"] += 1
        self.spending.add(answer.prompt_tokens, answer.completion_tokens)
        return answer

    async def _pay(self, key: str, messages: Messages) -> Answer:
        async with self.spending.reserved(estimate_tokens(messages), self._settings.max_completion_tokens):
            answer = await self._ask(key, messages)
            self.counts["answers_from_endpoint"] += 1
            self.spending.add(answer.prompt_tokens, answer.completion_tokens)
            return answer


def journal_key(settings: OpenAIGeneration, messages: Messages) -> str:
    """Return the journal's key of a prompt: a fingerprint of the prompt, the model and the parameters."""
    return fingerprint(messages, settings.model, settings.temperature, settings.max_completion_tokens)


def request_body(settings: OpenAIGeneration, messages: Messages) -> dict[str, Any]:
    """Return the body of the request that asks ``messages``."""
    return {
        "model": settings.model,
        "messages": messages,
        "temperature": settings.temperature,
        "max_tokens": settings.max_completion_tokens,
    }


def estimate_tokens(messages: Messages) -> int:
    """Return an upper estimate of the tokens of a prompt, from its characters."""
    return int(sum(len(message["content"]) for message in messages) / CHARS_PER_TOKEN) + 8 * len(messages)


def to_answer(completion: "ChatCompletion", messages: Messages) -> Answer:
    """Return what the journal keeps of a completion; raise CallError when it is none, or holds no message.

    The SDK does not check what a server sends: anything may stand anywhere.
    """
    choices = getattr(completion, "choices", None)
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = getattr(choice, "message", None)
    if choice is None or message is None:
        raise CallError("no_completion", f"the answer is no completion with a message: {str(completion)[:200]!r}")
    content, usage = _text(message.content), getattr(completion, "usage", None)
    return Answer(
        content=content,
        finish_reason=str(choice.finish_reason or ""),
        prompt_tokens=_count(usage, "prompt_tokens", estimate_tokens(messages)),
        completion_tokens=_count(usage, "completion_tokens", int(len(content) / CHARS_PER_TOKEN)),
        refusal=_text(getattr(message, "refusal", None)) or None,
    )


def _text(content: object) -> str:
    """Return a message's content, a string or a list of parts, as text that can be written to a file."""
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    joined = "".join(text for text in texts if isinstance(text, str))
    return joined.encode("utf-8", "replace").decode()


def _count(usage: object, name: str, estimate: int) -> int:
    count = getattr(usage, name, None)
    return count if isinstance(count, int) else estimate
