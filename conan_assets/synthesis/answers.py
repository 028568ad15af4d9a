"""What an answer must look like for each task, and how it becomes pairs."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from conan_assets.synthesis.journal import Answer

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
STS_MAX_SCORE = 5.0
END_OF_THOUGHT = "</think>"


class AnswerError(ValueError):
    """An answer cannot be used; ``reason`` is the name it is counted under."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Question(BaseModel):
    """A question that the passage answers."""

    question: Text

    def columns(self, doc_id: str) -> dict[str, Any]:
        """Return the pair's task and both of its sides."""
        return {"task": "retrieval", "query": self.question, "doc_id": doc_id, "text": None, "score": 1.0}


class Instruction(BaseModel):
    """A prompt and a response to it, which stands outside the corpus."""

    prompt: Text
    response: Text

    def columns(self, doc_id: str) -> dict[str, Any]:
        """Return the pair's task and both of its sides."""
        return {"task": "retrieval", "query": self.prompt, "doc_id": None, "text": self.response, "score": 1.0}


class SentencePair(BaseModel):
    """Two sentences and the similarity of their meanings, from 0 to 5."""

    sentence1: Text
    sentence2: Text
    score: float = Field(ge=0, le=STS_MAX_SCORE)

    def columns(self, doc_id: str) -> dict[str, Any]:
        """Return the pair's task and both of its sides."""
        score = self.score / STS_MAX_SCORE
        return {"task": "sts", "query": self.sentence1, "doc_id": None, "text": self.sentence2, "score": score}


Written = Question | Instruction | SentencePair


class _Questions(BaseModel):
    model_config = ConfigDict(extra="ignore")
    pairs: list[Question] = Field(min_length=1)


class _Instructions(BaseModel):
    model_config = ConfigDict(extra="ignore")
    pairs: list[Instruction] = Field(min_length=1)


class _SentencePairs(BaseModel):
    model_config = ConfigDict(extra="ignore")
    pairs: list[SentencePair] = Field(min_length=1)


FORMS: dict[str, type[_Questions | _Instructions | _SentencePairs]] = {
    "question": _Questions,
    "instruction": _Instructions,
    "sts": _SentencePairs,
}


def parse_answer(answer: Answer, task: str) -> Sequence[Written]:
    """Return the pairs in an answer; raise AnswerError with the reason and a message that helps the model.

    The JSON object may stand in a code fence or between other words: many servers ignore a response format.
    """
    if answer.refusal or not answer.content.strip():
        raise AnswerError("refused", answer.refusal or "it is empty")
    if answer.finish_reason == "content_filter":
        raise AnswerError("refused", "it was stopped by a content filter")
    if answer.finish_reason == "length":
        raise AnswerError("cut_off", "it is cut off at the token limit; write shorter pairs")
    content = answer.content.rpartition(END_OF_THOUGHT)[2]
    start, end = content.find("{"), content.rfind("}")
    if start < 0 or end < start:
        raise AnswerError("invalid_json", "it holds no JSON object")
    try:
        return FORMS[task].model_validate_json(content[start : end + 1]).pairs
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = "invalid_json" if first["type"] == "json_invalid" else "wrong_schema"
        raise AnswerError(reason, f"{where}: {first['msg']}".removeprefix(": ")) from None
