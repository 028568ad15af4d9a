"""What is sent for a prompt, and what is kept of the completion that comes back."""

import re
from typing import TYPE_CHECKING, Any

from conan_assets.artifacts import fingerprint
from conan_assets.llm.endpoint import EndpointError, NoCompletionError
from conan_assets.llm.journal import Answer, AnswerJournal
from conan_assets.llm.settings import LanguageModel
from conan_assets.strict_json import whole_characters

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion

Messages = list[dict[str, str]]
"""A chat prompt: each message has a role and a content."""

CHARS_PER_TOKEN = 1.5
"""Fewest characters of a token in a mixed text; estimates of a prompt's tokens lie above the truth."""

_LATEST = re.compile(r"[-:]latest$")
_VERSION = re.compile(r"(-0\d\d|-\d{4}|-\d{6}|-\d{8}|-\d{4}-\d\d-\d\d|-latest|:[a-z]+|@.*)?")


def journal_key(settings: LanguageModel, messages: Messages) -> str:
    """Return the journal's key of a prompt: a fingerprint of the prompt, the model that answers and the parameters."""
    return fingerprint(messages, settings.answering_model, settings.temperature, settings.max_completion_tokens)


def record(journal: AnswerJournal, settings: LanguageModel, messages: Messages, answer: Answer) -> Answer:
    """Record an answer under the model that gave it, and return it; raise EndpointError if another one was asked."""
    if answer.model and not is_same_model(settings.answering_model, answer.model):
        journal.record(journal_key(settings.model_copy(update={"answers_as": answer.model}), messages), answer)
        raise EndpointError(
            f"the model {settings.model!r} was asked and {answer.model!r} answers: set generation.model to it, or "
            "generation.answers_as where it is the same under another name; its answers are kept for that case"
        )
    journal.record(journal_key(settings, messages), answer)
    return answer


def is_same_model(asked: str, answered: str) -> bool:
    """Return whether two names differ in an organization, a date, a version's tag or a revision at most."""
    one, other = (name.lower().rsplit("/", 1)[-1] for name in (asked, answered))
    one = _LATEST.sub("", one)
    return other.startswith(one) and _VERSION.fullmatch(other.removeprefix(one)) is not None


def request_body(settings: LanguageModel, messages: Messages, token_limit: str) -> dict[str, Any]:
    """Return the body of the request that asks ``messages``; ``token_limit`` is what the endpoint calls the limit."""
    sampling = {} if settings.temperature is None else {"temperature": settings.temperature}
    return {"model": settings.model, "messages": messages, token_limit: settings.max_completion_tokens, **sampling}


def estimate_tokens(messages: Messages) -> int:
    """Return an upper estimate of the tokens of a prompt, from its characters."""
    return int(sum(len(message["content"]) for message in messages) / CHARS_PER_TOKEN) + 8 * len(messages)


def to_answer(completion: "ChatCompletion", messages: Messages) -> Answer:
    """Return what the journal keeps of a completion; raise NoCompletionError when it is none, or holds no message.

    The SDK does not check what a server sends: anything may stand anywhere.
    """
    choices = getattr(completion, "choices", None)
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = getattr(choice, "message", None)
    if choice is None or message is None or not hasattr(message, "content"):
        raise NoCompletionError(f"the answer is no completion with a message: {str(completion)[:200]!r}")
    content, usage = _text(message.content), getattr(completion, "usage", None)
    return Answer(
        content=content,
        finish_reason=str(choice.finish_reason or ""),
        prompt_tokens=_count(usage, "prompt_tokens", estimate_tokens(messages)),
        completion_tokens=_count(usage, "completion_tokens", int(len(content) / CHARS_PER_TOKEN)),
        refusal=_text(getattr(message, "refusal", None)) or None,
        model=_text(getattr(completion, "model", None)),
    )


def _text(content: object) -> str:
    """Return a message's content, a string or a list of parts, as text that can be written to a file."""
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") if isinstance(part, dict) else part for part in parts]
    return str(whole_characters("".join(text for text in texts if isinstance(text, str))))


def _count(usage: object, name: str, estimate: int) -> int:
    count = getattr(usage, name, None)
    return count if type(count) is int and count >= 0 else estimate
