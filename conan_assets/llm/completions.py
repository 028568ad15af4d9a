"""What is sent for a prompt, and what is kept of the completion that comes back."""

from typing import TYPE_CHECKING, Any

from conan_assets.artifacts import fingerprint
from conan_assets.llm.endpoint import CallError
from conan_assets.llm.journal import Answer
from conan_assets.llm.settings import LanguageModel

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion

Messages = list[dict[str, str]]
"""A chat prompt: each message has a role and a content."""

CHARS_PER_TOKEN = 1.5
"""Fewest characters of a token in a mixed text; estimates of a prompt's tokens lie above the truth."""


def journal_key(settings: LanguageModel, messages: Messages) -> str:
    """Return the journal's key of a prompt: a fingerprint of the prompt, the model and the parameters."""
    return fingerprint(messages, settings.model, settings.temperature, settings.max_completion_tokens)


def request_body(settings: LanguageModel, messages: Messages) -> dict[str, Any]:
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
