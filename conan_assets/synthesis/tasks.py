"""What a model is asked to write about a passage, and the form of its answer, for each task.

The prompts are the template files beside this module, varied by persona, kind and length.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from string import Template
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from conan_assets.artifacts import fingerprint
from conan_assets.llm.completions import Messages
from conan_assets.llm.journal import Answer
from conan_assets.llm.parsing import Form, enclose, read_answer
from conan_assets.synthesis.settings import QUESTION_KINDS

TEMPLATES = Path(__file__).parent / "prompts"
STS_MAX_SCORE = 5.0
TWO_PASSAGES = "two_passages"
"""The template of questions over two passages."""

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class Question(Form):
    """A question that the passage answers."""

    question: Text

    def columns(self, doc_id: str) -> dict[str, Any]:
        """Return the pair's task and both of its sides."""
        return {"task": "retrieval", "query": self.question, "doc_id": doc_id, "text": None, "score": 1.0}


class Instruction(Form):
    """A prompt and a response to it, which stands outside the corpus."""

    prompt: Text
    response: Text

    def columns(self, doc_id: str) -> dict[str, Any]:
        """Return the pair's task and both of its sides."""
        return {"task": "retrieval", "query": self.prompt, "doc_id": None, "text": self.response, "score": 1.0}


class SentencePair(Form):
    """Two sentences and the similarity of their meanings, from 0 to 5."""

    sentence1: Text
    sentence2: Text
    score: float = Field(ge=0, le=STS_MAX_SCORE)

    def columns(self, doc_id: str) -> dict[str, Any]:
        """Return the pair's task and both of its sides."""
        score = self.score / STS_MAX_SCORE
        return {"task": "sts", "query": self.sentence1, "doc_id": None, "text": self.sentence2, "score": score}


Written = Question | Instruction | SentencePair


class _Questions(Form):
    pairs: list[Question] = Field(min_length=1)


class _Instructions(Form):
    pairs: list[Instruction] = Field(min_length=1)


class _SentencePairs(Form):
    pairs: list[SentencePair] = Field(min_length=1)


_FORMS: dict[str, type[_Questions | _Instructions | _SentencePairs]] = {
    "question": _Questions,
    "instruction": _Instructions,
    "sts": _SentencePairs,
}


def build_prompt(
    task: str,
    language: str,
    passage: str,
    pairs: int,
    seed: str,
    examples: Sequence[str] = (),
    kinds: Mapping[Any, float] = QUESTION_KINDS,
    second: str = "",
) -> Messages:
    """Return the messages that ask for ``pairs`` pairs of ``task`` about ``passage``.

    Parameters
    ----------
    task
        Name of a template: ``question``, ``instruction`` or ``sts``.
    language
        Folder of the templates: ``en`` or ``zh``.
    passage
        The passage itself.
    pairs
        How many pairs to ask for.
    seed
        Chooses persona, kind and length; the same seed gives the same prompt.
    examples
        Real queries that show how questions sound.
    kinds
        The shares by which the seed chooses the kind of a question.
    second
        Another passage, for questions that need both.
    """
    return fill_template(
        language,
        TWO_PASSAGES if second else task,
        passage=enclose(passage, "passage"),
        second=enclose(second, "passage"),
        pairs=pairs,
        examples=_shown(language, examples),
        **draw(task, language, seed, kinds),
    )


def _shown(language: str, examples: Sequence[str]) -> str:
    """Return what is said of real queries, nothing without any."""
    if not examples:
        return ""
    queries = "\n".join(f"- {' '.join(query.split())}" for query in examples)
    return "\n\n" + _template(language, "examples").substitute(queries=queries).strip()


def draw(task: str, language: str, seed: str, kinds: Mapping[Any, float]) -> dict[str, str]:
    """Return what varies a prompt of ``task``: persona, kind and length; requests of keywords are short."""
    drawn = {
        "persona": _choose(language, "personas", seed),
        "kind": "",
        "length": _choose(language, "lengths", seed),
    }
    if task != "question":
        return drawn | {"kind": _choose(language, f"{task}_kinds", seed)}
    kind = question_kind(seed, kinds)
    wording = dict(line.split(": ", 1) for line in _lines(language, "question_kinds"))
    length = {"length": _lines(language, "lengths")[0]} if kind == "keywords" else {}
    return drawn | {"kind": wording[kind]} | length


def question_kind(seed: str, kinds: Mapping[Any, float]) -> str:
    """Return the kind of question that ``seed`` chooses, each with its share, in whatever order they are named."""
    point = share_of(f"question_kinds:{seed}") * sum(kinds.values())
    for kind in QUESTION_KINDS:
        point -= kinds.get(kind, 0)
        if point < 0:
            return kind
    return str(max(kinds, key=lambda kind: kinds[kind]))


def fill_template(language: str, name: str, **parts: object) -> Messages:
    """Return the message that the template of that name makes of ``parts``."""
    return [{"role": "user", "content": _template(language, name).substitute(parts)}]


def read_pairs(answer: Answer, task: str, messages: Messages) -> Sequence[Written]:
    """Return the pairs in an answer to the prompt of ``task``; raise AnswerError when it cannot be used."""
    return read_answer(answer, _FORMS[task], messages[0]["content"]).pairs


def build_correction(messages: Messages, answer: str, problem: str, language: str) -> Messages:
    """Return ``messages`` followed by the invalid ``answer``, unless it is empty, and what was wrong with it."""
    text = _template(language, "correction").substitute(problem=problem)
    said = [{"role": "assistant", "content": answer}] if answer else []
    return [*messages, *said, {"role": "user", "content": text}]


def fingerprint_templates(language: str) -> str:
    """Return a fingerprint of the template files of a language."""
    return fingerprint({path.name: path.read_text(encoding="utf-8") for path in (TEMPLATES / language).glob("*.txt")})


@cache
def _template(language: str, name: str) -> Template:
    return Template((TEMPLATES / language / f"{name}.txt").read_text(encoding="utf-8"))


@cache
def _lines(language: str, name: str) -> list[str]:
    return (TEMPLATES / language / f"{name}.txt").read_text(encoding="utf-8").splitlines()


def _choose(language: str, name: str, seed: str) -> str:
    choices = _lines(language, name)
    return choices[_hash(f"{name}:{seed}") % len(choices)]


def share_of(text: str) -> float:
    """Return a number from 0 to 1 that only ``text`` decides."""
    return _hash(text) / 2**64


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
