"""The quality gates of written pairs: each has a name, and what it removes is counted and shown under it.

Every pair is looked at once, and the first gate that it fails is the reason it is removed for, cheap gates first:

1. ``quotes_passage``: the question stands in a passage of its own word for word; it would teach matching.
2. ``other_language``: the query, or its response, is not in the language of the passage.
3. ``near_duplicate``: an earlier query about the same passage is nearly equal, or one of its dataset is equal.
4. ``not_retrieved``: the round trip; a teacher does not find the passage among its first k documents for the question.
5. ``low_teacher_score``: the teacher's cosine of query and passage, or response, is below 0.4 (Conan-embedding,
   arXiv 2408.15710, section 3.1).

6. ``low_grade``: the model that is asked for grades says that the passage does not answer the question, or that it
   is unclear or unnatural; a question that got no grades passes.

7. ``one_passage_is_enough``: a question over two passages that one of them answers.

Graded sentence pairs are meant to score low at times: only gates 2 and 3 judge them. Questions held out for dev and
test are not judged by gates 4 and 5, for a test of what a teacher finds anyway would measure the teacher; they need
better grades, and without any they go as ``not_graded``.
"""

import logging
import re
import time
from collections.abc import Mapping
from typing import Any
from unicodedata import east_asian_width

import numpy as np
import polars as pl

from conan_assets.data.tables import DOCUMENT_TEXT
from conan_assets.data.text import compare_by
from conan_assets.synthesis.grading import Grader
from conan_assets.synthesis.language import UNKNOWN_LANGUAGE, identify, may_be
from conan_assets.synthesis.round_trip import GateTeacher, own_ranks
from conan_assets.synthesis.settings import Gates
from conan_assets.synthesis.two_passages import MIN_GRADE, NEEDS_TWO, answered_by_one, with_second_text

logger = logging.getLogger("conan_assets")

GATES_VERSION = 2
"""Raise it when other pairs pass."""

MIN_QUOTED_WIDTH = 16
"""In columns of a terminal: a Chinese character takes two, and says as much as a few letters."""
NGRAM, CHINESE_NGRAM = 5, 2
"""Characters; a Chinese question has few, each as much as a syllable."""

_CHINESE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")

OPEN = pl.col("reason").is_null()
IS_QUESTION = pl.col("doc_id").is_not_null()
IS_RETRIEVAL = pl.col("task") == "retrieval"
IS_HELD_OUT = pl.col("split") != "train"


def apply_gates(
    settings: Gates,
    written: pl.DataFrame,
    corpus: pl.DataFrame,
    languages: Mapping[str, str],
    teacher: GateTeacher | None,
    grader: Grader | None = None,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return (kept rows of ``written``, report).

    Parameters
    ----------
    settings
        Thresholds, and how many rejected pairs to show.
    written
        WRITTEN_PAIRS; those that are kept get their rank, score and grade.
    corpus
        CORPUS that the passages stand in, and that the round trip searches.
    languages
        ISO 639-1 code by dataset; passages of other datasets are identified one by one.
    teacher
        Searches for the round trip and scores; None leaves both gates out.
    grader
        Grades the questions that are left; None leaves its gate out, which questions held out must pass.
    """
    started = time.monotonic()
    passages = corpus.select(passage_id="doc_id", passage=DOCUMENT_TEXT)
    judged = written.join(passages, on="passage_id", how="left", maintain_order="left").with_columns(
        reason=pl.lit(None, pl.String)
    )
    judged = with_second_text(judged, corpus)
    gates = ["quotes_passage", "other_language", "near_duplicate"]
    judged = remove(judged, "quotes_passage", _quoting(judged))
    judged = remove(judged, "other_language", in_other_language(judged, languages))
    judged = remove(judged, "near_duplicate", _near_duplicates(judged, settings.near_duplicate_jaccard))
    if teacher is not None:
        gates += ["not_retrieved", "low_teacher_score"]
        judged = _with_ranks(judged, corpus, teacher, settings.top_k)
        judged = remove(judged, "not_retrieved", judged["rank"] > settings.top_k, ~IS_HELD_OUT)
        judged = _with_scores(judged, teacher)
        judged = remove(judged, "low_teacher_score", judged["teacher_score"] < settings.min_teacher_score, ~IS_HELD_OUT)
    if grader is not None:
        gates += ["low_grade", "not_graded"]
        judged = _with_grades(judged, grader, settings)
        judged = remove(judged, "low_grade", judged["grade"] < settings.held_out_min_grade, IS_HELD_OUT)
        judged = remove(judged, "low_grade", judged["grade"] < (settings.min_grade or 0))
        judged = remove(judged, "low_grade", judged["grade"] < (settings.min_grade or MIN_GRADE), NEEDS_TWO)
        judged = remove(judged, "not_graded", judged["grade"].is_null(), IS_HELD_OUT | NEEDS_TWO)
        if judged.select(NEEDS_TWO.any()).item():
            gates.append("one_passage_is_enough")
            judged = remove(judged, "one_passage_is_enough", _answered_by_one(judged, grader, settings))
    report = _report(judged, gates, settings) | {"gates_seconds": round(time.monotonic() - started, 2)}
    logger.info("written pairs: %s of %s pass the gates", f"{report['pairs']:,}", f"{judged.height:,}")
    return judged.filter(OPEN).select(written.columns), report


def quotes(query: str, passage: str) -> bool:
    """Return whether a ``query`` longer than a term stands in ``passage`` word for word."""
    words = compare_by(query).strip(" .?!。？！")
    width = sum(2 if east_asian_width(character) in "WF" else 1 for character in words)
    return width >= MIN_QUOTED_WIDTH and words in compare_by(passage)


def remove(judged: pl.DataFrame, reason: str, fails: pl.Series, looks_at: pl.Expr | bool = True) -> pl.DataFrame:
    """Set the reason of the rows that a gate looks at, that fail and have none so far; null passes."""
    failed = OPEN & looks_at & pl.lit(fails).fill_null(False)
    return judged.with_columns(reason=pl.when(failed).then(pl.lit(reason)).otherwise("reason"))


def _quoting(judged: pl.DataFrame) -> pl.Series:
    def fails(query: str, is_question: bool, *passages: str | None) -> bool:
        return is_question and any(quotes(query, passage) for passage in passages if passage is not None)

    rows = judged.select("query", IS_QUESTION, "passage", "second_passage").iter_rows()
    return pl.Series([fails(*row) for row in rows], dtype=pl.Boolean)


def in_other_language(judged: pl.DataFrame, languages: Mapping[str, str]) -> pl.Series:
    """Return which queries, or their texts, are not in the language of the dataset, or of ``passage``."""

    def fails(dataset: str, query: str, text: str | None, passage: str) -> bool:
        expected = languages.get(dataset) or identify(passage)
        return expected != UNKNOWN_LANGUAGE and not (may_be(query, expected) and may_be(text or query, expected))

    rows = judged.select("dataset", "query", "text", "passage").iter_rows()
    return pl.Series([fails(*row) for row in rows], dtype=pl.Boolean)


def _near_duplicates(judged: pl.DataFrame, min_jaccard: float) -> pl.Series:
    """Return which queries, or pairs of sentences, come close to an earlier one that is not removed."""
    about_passage: dict[str, list[set[str]]] = {}
    in_dataset: set[tuple[str, str]] = set()

    def repeats(dataset: str, passage_id: str, text: str) -> bool:
        key = dataset, compare_by(text)
        ngrams, earlier = _ngrams(key[1]), about_passage.setdefault(passage_id, [])
        if key in in_dataset or any(_jaccard(ngrams, other) >= min_jaccard for other in earlier):
            return True
        earlier.append(ngrams)
        in_dataset.add(key)
        return False

    sentences = pl.when(IS_RETRIEVAL).then("query").otherwise(pl.concat_str("query", "text", separator="\n"))
    rows = judged.select("dataset", "passage_id", sentences, OPEN).iter_rows()
    return pl.Series([is_open and repeats(*row) for *row, is_open in rows], dtype=pl.Boolean)


def _ngrams(text: str) -> set[str]:
    size = CHINESE_NGRAM if _CHINESE.search(text) else NGRAM
    return {text[i : i + size] for i in range(max(len(text) - size + 1, 1))}


def _jaccard(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other)


def _with_ranks(judged: pl.DataFrame, corpus: pl.DataFrame, teacher: GateTeacher, k: int) -> pl.DataFrame:
    """Fill in ``rank`` of the questions not removed so far: searched for in the corpus of their dataset."""
    ranks = np.full(judged.height, np.nan)
    rows = judged.with_row_index("row").filter(OPEN & IS_QUESTION)
    for (dataset,), asked in rows.group_by("dataset", maintain_order=True):
        documents = corpus.filter(pl.col("dataset") == dataset).select("doc_id", text=DOCUMENT_TEXT)
        positions = documents.with_row_index("position").select("doc_id", "position")
        own = asked.join(positions, on="doc_id", how="left", maintain_order="left")["position"].to_numpy()
        retriever = teacher.open(documents["text"].to_list())
        ranks[asked["row"].to_numpy()] = own_ranks(retriever, asked["query"].to_list(), own, k)
    return judged.with_columns(rank=pl.Series(ranks).fill_nan(None).cast(pl.Int64))


def _with_scores(judged: pl.DataFrame, teacher: GateTeacher) -> pl.DataFrame:
    """Fill in ``teacher_score`` of the retrieval pairs not removed so far."""
    rows = judged.with_row_index("row").filter(OPEN & IS_RETRIEVAL)
    texts = rows.select(pl.coalesce("text", "passage"))["text"].to_list()
    scores = np.full(judged.height, np.nan, np.float32)
    if teacher.gives_cosines:
        scores[rows["row"].to_numpy()] = teacher.cosines(rows["query"].to_list(), texts)
    return judged.with_columns(teacher_score=pl.Series(scores).fill_nan(None))


def _with_grades(judged: pl.DataFrame, grader: Grader, settings: Gates) -> pl.DataFrame:
    """Fill in ``grade`` of the questions not removed so far; of held-out and two-passage ones if no others need one."""
    is_graded = IS_HELD_OUT | NEEDS_TWO | (settings.min_grade is not None)
    rows = judged.with_row_index("row").filter(OPEN & IS_QUESTION, is_graded)
    both = rows.select(
        "query",
        "passage",
        "second_passage",
        passage_id=pl.concat_str("passage_id", "second_passage_id", separator="|", ignore_nulls=True),
    )
    grades = np.full(judged.height, np.nan, np.float32)
    grades[rows["row"].to_numpy()] = grader.lowest_grades(both)
    return judged.with_columns(grade=pl.Series(grades).fill_nan(None))


def _answered_by_one(judged: pl.DataFrame, grader: Grader, settings: Gates) -> pl.Series:
    """Return which questions over two passages, not removed so far, need one of them alone."""
    rows = judged.with_row_index("row").filter(OPEN & NEEDS_TWO)
    fails = np.zeros(judged.height, bool)
    fails[rows["row"].to_numpy()] = answered_by_one(rows, grader, settings).to_numpy()
    return pl.Series(fails)


def _report(judged: pl.DataFrame, gates: list[str], settings: Gates) -> dict[str, Any]:
    counts = dict(judged.drop_nulls("reason").group_by("reason").len().iter_rows())
    kept = judged.filter(OPEN)
    rejected = judged.filter(~OPEN).group_by("reason", maintain_order=True).head(settings.examples_per_reason)
    report = {
        "written": judged.height,
        "pairs": kept.height,
        "rejected": judged.height - kept.height,
        "rejected_by_reason": [{"reason": gate, "pairs": counts.get(gate, 0)} for gate in gates],
        "rejected_examples": rejected.select(
            "reason", "query", pl.coalesce("text", "passage").str.slice(0, 200), "rank", "teacher_score", "grade"
        ).to_dicts(),
    }
    means = kept.select(
        mean_rank_of_kept=pl.col("rank").mean(),
        mean_teacher_score_of_kept=pl.col("teacher_score").mean(),
        mean_grade_of_kept=pl.col("grade").mean(),
    )
    return report | {name: round(value, 4) for name, value in means.row(0, named=True).items() if value is not None}
