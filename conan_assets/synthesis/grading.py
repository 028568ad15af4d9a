"""A second look at written questions: a model grades them, whoever wrote them, and a gate removes the poor ones."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from pydantic import Field

from conan_assets.llm.client import Ask
from conan_assets.llm.completions import Messages
from conan_assets.llm.journal import Answer
from conan_assets.llm.parsing import AnswerError, Form, enclose, read_answer
from conan_assets.synthesis.settings import OpenAIGeneration
from conan_assets.synthesis.tasks import fill_template

GRADING_VERSION = 1
"""Raise it when questions are graded otherwise."""


class Grades(Form):
    """What a question is worth on three scales from 1 to 5."""

    answered: int = Field(ge=1, le=5)
    clear: int = Field(ge=1, le=5)
    natural: int = Field(ge=1, le=5)

    @property
    def lowest(self) -> int:
        """The lowest of the three."""
        return min(self.answered, self.clear, self.natural)


class _AllGrades(Form):
    grades: list[Grades]


class Grader:
    """Has the questions about each passage graded, in one call for a passage.

    Parameters
    ----------
    settings
        Language of the prompts and length of the passages in them.
    ask
        Sends prompts to the model.
    """

    def __init__(self, settings: OpenAIGeneration, ask: Ask) -> None:
        self._settings = settings
        self._ask = ask

    def lowest_grades(self, questions: pl.DataFrame) -> np.ndarray:
        """Return the lowest grade of every question, NaN where none can be read, shape (questions,).

        Parameters
        ----------
        questions
            Columns ``passage_id``, ``passage``, ``query`` and, where a question is about two, ``second_passage``.
        """
        texts = [pl.col(name).str.head(self._settings.max_passage_chars) for name in ("passage", "second_passage")]
        both = pl.concat_str(texts[: 1 + ("second_passage" in questions.columns)], separator="\n\n", ignore_nulls=True)
        grouped = questions.with_row_index("row").with_columns(passage=both).group_by("passage_id", maintain_order=True)
        about = [(group["passage"][0], group["query"].to_list(), group["row"].to_numpy()) for _, group in grouped]
        language = self._settings.prompt_language
        prompts = [build_grading_prompt(language, passage, queries) for passage, queries, _ in about]
        grades = np.full(questions.height, np.nan)
        for prompt, answer, (_, _, rows) in zip(prompts, self._ask(prompts), about, strict=True):
            grades[rows] = read_grades(answer, prompt, len(rows))
        return grades


def build_grading_prompt(language: str, passage: str, queries: Sequence[str]) -> Messages:
    """Return the messages that ask for the grades of ``queries`` about ``passage``."""
    return fill_template(
        language,
        "grading",
        passage=enclose(passage, "passage"),
        questions="\n".join(enclose(query, "question") for query in queries),
        count=len(queries),
    )


def read_grades(answer: Answer | None, prompt: Messages, count: int) -> list[float]:
    """Return the lowest grade of each of ``count`` questions, NaN for all where the answer has not as many grades."""
    none = [np.nan] * count
    if answer is None:
        return none
    try:
        grades = read_answer(answer, _AllGrades, prompt[0]["content"]).grades
    except AnswerError:
        return none
    return [float(grade.lowest) for grade in grades] if len(grades) == count else none
