"""Hard negatives that the model writes: they look relevant and, as its grades confirm, do not answer the question."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from pydantic import Field

from conan_assets.data.tables import DOCUMENT_TEXT
from conan_assets.data.text import comparison_key
from conan_assets.llm.client import Ask
from conan_assets.llm.completions import Messages, journal_key
from conan_assets.llm.journal import Answer
from conan_assets.llm.parsing import AnswerError, Form, enclose, read_answer
from conan_assets.synthesis.gates import IS_HELD_OUT, IS_QUESTION, OPEN, in_other_language, remove
from conan_assets.synthesis.grading import Grader
from conan_assets.synthesis.settings import OpenAIGeneration
from conan_assets.synthesis.tasks import Text, fill_template
from conan_assets.synthesis.two_passages import NEEDS_TWO

WRITTEN_NEGATIVES_VERSION = 1
"""Raise it when other negatives are asked for or kept."""

TEMPLATE = "hard_negatives"
EXAMPLES = 5

IS_NEGATIVE = (pl.col("task") == "retrieval") & (pl.col("score") <= 0)
GETS_NEGATIVES = IS_QUESTION & ~IS_HELD_OUT & ~NEEDS_TWO & pl.col("grade").is_not_null()
"""Questions to train on that their one passage answers: then a low grade with another says that this does not."""


class _Negatives(Form):
    passages: list[Text] = Field(min_length=1)


def write_negatives(
    settings: OpenAIGeneration,
    pairs: pl.DataFrame,
    corpus: pl.DataFrame,
    languages: Mapping[str, str],
    ask: Ask,
    grader: Grader,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return (negatives, report): WRITTEN_PAIRS of score 0 with texts outside of the corpus, for the train split.

    A written passage goes if it is in another language than the question's passage, if it repeats this or another, if
    its grade says that it answers the question, and if it got none.

    Parameters
    ----------
    settings
        How many to ask for, in which language.
    pairs
        WRITTEN_PAIRS that passed the gates, graded.
    corpus, languages
        CORPUS that the passages stand in, and ISO 639-1 codes by dataset.
    ask
        Sends prompts to the model.
    grader
        Grades each question with what was written for it.
    """
    if not settings.hard_negatives_per_question:
        return pairs.clear(), {}
    texts = corpus.select(passage_id="doc_id", passage=DOCUMENT_TEXT)
    questions = pairs.filter(GETS_NEGATIVES).join(texts, on="passage_id", how="left", maintain_order="left")
    written, unanswered = _written(settings, questions, ask)
    judged = written.with_columns(reason=pl.lit(None, pl.String))
    judged = remove(judged, "other_language", in_other_language(judged, languages))
    judged = remove(judged, "repeats", _repeating(judged))
    judged = _with_grades(judged, grader)
    judged = remove(judged, "answers_the_question", judged["grade"] >= settings.gates.min_grade)
    judged = remove(judged, "not_graded", judged["grade"].is_null())
    kept = judged.filter(OPEN)
    report = {
        "hard_negatives_written": judged.height,
        "hard_negatives": kept.height,
        "hard_negatives_dropped": judged.filter(~OPEN).group_by("reason").len("passages").sort("reason").to_dicts(),
        "hard_negatives_unanswered": unanswered,
        "example_hard_negatives": kept.head(EXAMPLES).select("query", "text", "passage", "grade").to_dicts(),
    }
    return kept.select(pairs.columns), report


def build_negatives_prompt(settings: OpenAIGeneration, passage: str, query: str) -> Messages:
    """Return the messages that ask for passages which look relevant to ``query`` and do not answer it."""
    return fill_template(
        settings.prompt_language,
        TEMPLATE,
        passage=enclose(passage[: settings.max_passage_chars], "passage"),
        question=enclose(query, "question"),
        count=settings.hard_negatives_per_question,
    )


def _written(settings: OpenAIGeneration, questions: pl.DataFrame, ask: Ask) -> tuple[pl.DataFrame, int]:
    """Return a row for each passage that was written, and of how many questions no answer can be read."""
    prompts = [
        build_negatives_prompt(settings, passage, query)
        for passage, query in questions.select("passage", "query").iter_rows()
    ]
    answers = [_read(answer, prompt) for answer, prompt in zip(ask(prompts), prompts, strict=True)]
    rows = [
        (row, place, text, journal_key(settings, prompt))
        for row, (prompt, texts) in enumerate(zip(prompts, answers, strict=True))
        for place, text in enumerate(texts[: settings.hard_negatives_per_question], start=1)
    ]
    columns = {"row": pl.UInt32, "place": pl.Int64, "text": pl.String, "answer_key": pl.String}
    about = questions.drop("text", "answer_key").with_row_index("row")
    written = pl.DataFrame(rows, schema=columns, orient="row").join(about, on="row", how="left", maintain_order="left")
    return written.with_columns(
        pair_id=pl.concat_str("pair_id", pl.lit("-"), "place"),
        doc_id=pl.lit(None, pl.String),
        score=pl.lit(0.0, pl.Float32),
        asked_for=pl.lit(f"{settings.prompt_language}/{TEMPLATE}"),
        kind=pl.lit(None, pl.String),
        rank=pl.lit(None, pl.Int64),
        teacher_score=pl.lit(None, pl.Float32),
    ), answers.count([])


def _read(answer: Answer | None, prompt: Messages) -> list[str]:
    if answer is None:
        return []
    try:
        return read_answer(answer, _Negatives, prompt[0]["content"]).passages
    except AnswerError:
        return []


def _repeating(judged: pl.DataFrame) -> pl.Series:
    """Return which texts say the same as the question, as its passage or as an earlier one of the question."""
    keys = judged.select("query_id", *(comparison_key(pl.col(name)) for name in ("text", "query", "passage")))
    earlier = ~pl.struct("query_id", "text").is_first_distinct()
    return keys.select((pl.col("text") == pl.col("query")) | (pl.col("text") == pl.col("passage")) | earlier)["text"]


def _with_grades(judged: pl.DataFrame, grader: Grader) -> pl.DataFrame:
    """Fill in ``grade``: of the question with the text not removed so far, in a call of its own."""
    rows = judged.drop("row").with_row_index("row").filter(OPEN)
    grades = np.full(judged.height, np.nan, np.float32)
    asked = rows.select("query", passage_id="pair_id", passage="text")
    grades[rows["row"].to_numpy()] = grader.lowest_grades(asked)
    return judged.with_columns(grade=pl.Series(grades).fill_nan(None))
