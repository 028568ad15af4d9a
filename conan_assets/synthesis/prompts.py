"""Prompts from the template files beside this module: the text of a task, varied by persona, kind and length."""

import hashlib
from functools import cache
from pathlib import Path
from string import Template

from conan_assets.artifacts import fingerprint

TEMPLATES = Path(__file__).parent / "prompts"

Messages = list[dict[str, str]]


def build_prompt(task: str, language: str, passage: str, pairs: int, seed: str) -> Messages:
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
    """
    text = _template(language, task).substitute(
        passage=passage,
        pairs=pairs,
        persona=_choose(language, "personas", seed),
        kind=_choose(language, f"{task}_kinds", seed),
        length=_choose(language, "lengths", seed),
    )
    return [{"role": "user", "content": text}]


def build_correction(messages: Messages, answer: str, problem: str, language: str) -> Messages:
    """Return ``messages`` followed by the invalid ``answer`` and what was wrong with it."""
    text = _template(language, "correction").substitute(problem=problem)
    return [*messages, {"role": "assistant", "content": answer}, {"role": "user", "content": text}]


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
    return choices[int.from_bytes(hashlib.sha256(f"{name}:{seed}".encode()).digest()[:8]) % len(choices)]
