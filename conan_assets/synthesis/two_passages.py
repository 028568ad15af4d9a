"""Questions over two passages of a document: the model confirms that both are needed, and both are positives."""

import numpy as np
import polars as pl

from conan_assets.data.tables import DOCUMENT_TEXT
from conan_assets.synthesis.grading import Grader
from conan_assets.synthesis.settings import Gates

TWO_PASSAGES_VERSION = 1
"""Raise it when other questions are confirmed or they get other positives."""

NEEDS_TWO = pl.col("second_passage_id").is_not_null()
MIN_GRADE = 3
"""Of questions to train on where ``gates.min_grade`` names none."""


def with_second_text(judged: pl.DataFrame, corpus: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with ``second_passage``, the text of the second passage, null without one."""
    texts = corpus.select(second_passage_id="doc_id", second_passage=DOCUMENT_TEXT)
    return judged.join(texts, on="second_passage_id", how="left", maintain_order="left")


def least_grade(settings: Gates) -> pl.Expr:
    """Return the grade from which a question over two passages counts as answered."""
    held_out = pl.col("split") != "train"
    return pl.when(held_out).then(settings.held_out_min_grade).otherwise(settings.min_grade or MIN_GRADE)


def answered_by_one(questions: pl.DataFrame, grader: Grader, settings: Gates) -> pl.Series:
    """Return which questions one of their two passages answers alone, or may: what got no grade is not confirmed.

    Clear and natural they are, for with both passages they have a good grade; a lower one with one passage says that
    this does not answer them.

    Parameters
    ----------
    questions
        WRITTEN_PAIRS with ``passage`` and ``second_passage``.
    grader
        Grades each question with each passage.
    settings
        Thresholds.
    """
    threshold = questions.select(least_grade(settings)).to_series().to_numpy()
    sides = [("passage_id", "passage"), ("second_passage_id", "second_passage")]
    grades = [grader.lowest_grades(questions.select("query", passage_id=of, passage=text)) for of, text in sides]
    return pl.Series(~np.logical_and.reduce([grade < threshold for grade in grades]), dtype=pl.Boolean)


def with_second_positives(pairs: pl.DataFrame) -> pl.DataFrame:
    """Return WRITTEN_PAIRS with a pair for the second passage of each question that needs two."""
    own = NEEDS_TWO & (pl.col("doc_id") == pl.col("passage_id"))
    second = pairs.filter(own).with_columns(
        pair_id=pl.concat_str("pair_id", pl.lit("+second")),
        doc_id="second_passage_id",
        passage_id="second_passage_id",
        second_passage_id="passage_id",
        rank=pl.lit(None, pl.Int64),
        teacher_score=pl.lit(None, pl.Float32),
    )
    return pl.concat([pairs, second])
