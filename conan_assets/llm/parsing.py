"""How a passage is enclosed in a prompt, and how an answer is read: no passage can end its quotation or answer itself.

The answer is the last complete JSON object that has the form asked for. Other words may stand around it, as many
servers ignore a response format; what a model thinks before it answers is no part of the answer; and an object that
stands in the prompt is a quotation, whatever the passage would like it to be.
"""

import re
from collections.abc import Iterator
from itertools import count
from json import JSONDecoder
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from conan_assets.artifacts import fingerprint
from conan_assets.llm.journal import Answer
from conan_assets.strict_json import LENIENT_DECODER, whole_characters

PARSING_VERSION = 2
"""Raise it when another object is read from the same answer, or a text is enclosed otherwise."""

MARK_DIGITS = 8
_NAMES = r"(?:seed:)?(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|scratchpad|analysis)"
_OPENS = rf"<\s*{_NAMES}\b[^<>]*>|\[THINK\]|◁think▷|<\|begin_of_thought\|>|<\|channel\|>(?!final)\w+[^<]*<\|message\|>"
_CLOSES = rf"<\s*/\s*{_NAMES}\s*>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>|<\|message\|>"
_END_OF_THOUGHT = re.compile(_CLOSES, re.IGNORECASE)
_BRACE_OR_MARK = re.compile(rf"\{{|(?P<opens>{_OPENS})|(?P<closes>{_CLOSES})", re.IGNORECASE)
"""Models mark their thoughts in different ways; gpt-oss puts ``<|message|>`` before each part, the answer last."""


QUOTATION_DECODERS = [
    JSONDecoder(object_pairs_hook=hook, strict=False) for hook in (dict, lambda pairs: dict(reversed(pairs)))
]


class AnswerError(ValueError):
    """An answer cannot be used.

    Attributes
    ----------
    reason
        The name it is counted under.
    is_correctable
        Whether the model may do better when it is shown the message.
    """

    def __init__(self, reason: str, message: str, is_correctable: bool = True) -> None:
        super().__init__(message)
        self.reason = reason
        self.is_correctable = is_correctable


class Form(BaseModel):
    """The form of an answer: types as they stand, other keys ignored."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, allow_inf_nan=False)


AnyForm = TypeVar("AnyForm", bound=Form)


def enclose(text: str, name: str) -> str:
    """Return ``text`` between tags of that name whose mark, the same for the same text, stands nowhere in it."""
    marks = (fingerprint(text, number)[:MARK_DIGITS] for number in count())
    mark = next(mark for mark in marks if mark not in text)
    return f"<{name}-{mark}>\n{text}\n</{name}-{mark}>"


def read_answer(answer: Answer, form: type[AnyForm], prompt: str) -> AnyForm:
    """Return the last object of that form in an answer to ``prompt``; an object that stands in it does not count.

    Raises
    ------
    AnswerError
        The answer is refused, cut off, empty, no JSON, of another form or a quotation; the message helps the model.
    """
    if answer.refusal or answer.finish_reason == "content_filter":
        raise AnswerError("refused", answer.refusal or "it was stopped by a content filter")
    objects, words = _said(answer.content)
    if answer.finish_reason == "length":
        raise _cut_off(answer, words)
    if not words:
        raise AnswerError("empty", "it is empty")
    if not objects:
        raise AnswerError("invalid_json", _what_is_no_json(words))
    fitting = [fit for value in objects if (fit := _fit(form, value)) is not None]
    if not fitting:
        raise AnswerError("wrong_schema", _what_does_not_fit(form, objects[-1]))
    quotations = [_fit(form, value) for value in _objects_in(prompt)]
    own = [fit for fit in fitting if fit not in quotations]
    if not own:
        raise AnswerError("quotation", "it repeats an object of the prompt and adds none")
    return own[-1]


def _said(content: str) -> tuple[list[dict[str, Any]], str]:
    """Return the outermost objects that stand outside of the model's thoughts, and all words that do.

    What stands before the end of a thought whose beginning is not marked is a thought.
    """
    objects: list[dict[str, Any]] = []
    words: list[str] = []
    said = position = 0
    while (found := _BRACE_OR_MARK.search(content, position)) is not None:
        position = found.end()
        if found["opens"]:
            words.append(content[said : found.start()])
            end = _END_OF_THOUGHT.search(content, position)
            said = position = end.end() if end else len(content)
        elif found["closes"]:
            objects, words, said = [], [], position
        elif (decoded := _decode(content, found.start())) is not None:
            value, position = decoded
            objects.append(value)
    return objects, "".join([*words, content[said:]]).strip()


def _objects_in(prompt: str) -> Iterator[dict[str, Any]]:
    """Yield every object in a prompt, those within others too; of a key that stands twice each value counts."""
    for brace in re.finditer(r"\{", prompt):
        for decoder in QUOTATION_DECODERS:
            if (decoded := _decode(prompt, brace.start(), decoder)) is not None:
                yield decoded[0]


def _decode(text: str, start: int, decoder: JSONDecoder = LENIENT_DECODER) -> tuple[dict[str, Any], int] | None:
    """Return the object that begins at ``start`` and where it ends; None when no complete one does."""
    try:
        value, end = decoder.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return cast(dict[str, Any], whole_characters(value)), end


def _fit(form: type[AnyForm], value: dict[str, Any]) -> AnyForm | None:
    try:
        return form.model_validate(value)
    except ValidationError:
        return None


def _cut_off(answer: Answer, words: str) -> AnswerError:
    if words:
        return AnswerError("cut_off", "it is cut off at the limit of tokens: answer more shortly")
    return AnswerError(
        "cut_off",
        f"its {answer.completion_tokens:,} tokens were used up by reasoning: raise max_completion_tokens",
        is_correctable=False,
    )


def _what_is_no_json(words: str) -> str:
    start = words.find("{")
    if start < 0:
        return "it holds no JSON object"
    try:
        LENIENT_DECODER.raw_decode(words, start)
    except (ValueError, RecursionError) as error:
        return f"it holds no complete JSON object: {error}"
    raise AssertionError("unreachable: there would be an object")


def _what_does_not_fit(form: type[Form], value: dict[str, Any]) -> str:
    try:
        form.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}".removeprefix(": ")
    raise AssertionError("unreachable: it would fit")
