"""Questions held out for dev and test: all passages that answer them, and none that a training question is about."""

from typing import Any

import numpy as np
import polars as pl

from conan_assets.compute import IN_PROCESS, Compute
from conan_assets.data.near_texts import near_between
from conan_assets.data.tables import DOCUMENT_TEXT
from conan_assets.search.bm25 import BM25Retriever
from conan_assets.search.groups import Groups
from conan_assets.synthesis.gates import IS_HELD_OUT
from conan_assets.synthesis.grading import Grader
from conan_assets.synthesis.round_trip import GateTeacher
from conan_assets.synthesis.settings import Gates

HELD_OUT_VERSION = 3
"""Raise it when other questions are left or they get other positives."""

BM25 = GateTeacher(BM25Retriever, gives_cosines=False)


def with_other_positives(
    settings: Gates,
    pairs: pl.DataFrame,
    corpus: pl.DataFrame,
    chosen: pl.DataFrame,
    teacher: GateTeacher | None,
    grader: Grader,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return (pairs, report): held-out questions with every passage that the model confirms as an answer.

    A question that a passage of another split answers too is left out: as a positive it would tie the splits
    together, and without it the question would be judged by half of its answers.

    Parameters
    ----------
    pairs
        WRITTEN_PAIRS that passed the gates.
    corpus, chosen
        CORPUS, and the ``split`` of the passages that are asked about.
    teacher
        Finds the candidates; BM25 if None.
    grader
        Confirms them.
    """
    asked = pairs.filter(IS_HELD_OUT)
    if asked.is_empty() or not settings.other_positives:
        return pairs, {}
    found = pl.concat(
        [
            _candidates(
                questions, corpus.filter(pl.col("dataset") == dataset), teacher or BM25, settings.other_positives
            )
            for (dataset,), questions in asked.group_by("dataset", maintain_order=True)
        ]
    )
    one_call_each = found.with_columns(passage_id=pl.concat_str("query_id", pl.lit("|"), "passage_id"))
    grades = pl.Series("grade", grader.lowest_grades(one_call_each), pl.Float32).fill_nan(None)
    confirmed = found.with_columns(grades).filter(pl.col("grade") >= settings.held_out_min_grade)
    split_of = chosen.select(passage_id="doc_id", other_split="split")
    confirmed = confirmed.join(split_of, on="passage_id", how="left", maintain_order="left")
    joined = confirmed.join(asked.drop("grade", "passage_id"), on="query_id", how="left", maintain_order="left")
    elsewhere = joined.filter(pl.col("split").ne_missing(pl.col("other_split")))["query_id"].unique()
    is_elsewhere = pl.col("query_id").is_in(elsewhere.implode())
    added = joined.filter(~is_elsewhere).with_columns(
        pair_id=pl.concat_str("pair_id", pl.lit("+"), pl.int_range(1, pl.len() + 1).over("query_id")),
        doc_id="passage_id",
        second_passage_id=pl.lit(None, pl.String),
        rank=pl.lit(None, pl.Int64),
        teacher_score=pl.lit(None, pl.Float32),
    )
    report = {
        "other_passages_graded": found.height,
        "other_positives": added.height,
        "answered_in_another_split": len(elsewhere),
    }
    kept = pl.concat([pairs.filter(~is_elsewhere), added.select(pairs.columns)])
    return kept, report | {"pairs": kept.height}


def _candidates(questions: pl.DataFrame, documents: pl.DataFrame, teacher: GateTeacher, count: int) -> pl.DataFrame:
    """Return ``query_id``, ``query``, ``passage_id`` and ``passage``: what is found beside each question's own."""
    texts, ids = documents.select(DOCUMENT_TEXT).to_series(), documents["doc_id"]
    retriever = teacher.open(texts.to_list())
    found = retriever.search(questions["query"].to_list(), count + 2, Groups.empty(questions.height)).positions
    rows, places = np.nonzero(found >= 0)
    positions = found[rows, places]
    candidates = questions.select("query_id", "query", "doc_id", "second_passage_id")[rows].with_columns(
        passage_id=ids.gather(positions), passage=texts.gather(positions)
    )
    own = (pl.col("passage_id") == pl.col("doc_id")) | pl.col("passage_id").eq_missing(pl.col("second_passage_id"))
    others = candidates.filter(~own).drop("doc_id", "second_passage_id")
    return others.group_by("query_id", maintain_order=True).head(count)


def without_near_training(
    pairs: pl.DataFrame, corpus: pl.DataFrame, compute: Compute = IN_PROCESS
) -> tuple[pl.DataFrame, int]:
    """Return the pairs without held-out questions about a passage nearly one of a training pair, and how many went.

    The groups of documents leave none; what a search by hashes did not see there is found here.
    """
    texts = corpus.select("doc_id", "text")
    sides = [
        pairs.filter(side).select("doc_id").drop_nulls().unique(maintain_order=True).join(texts, on="doc_id")
        for side in (~IS_HELD_OUT, IS_HELD_OUT)
    ]
    trained, held_out = (side["text"] for side in sides)
    _, near = near_between(trained, held_out, compute)
    leaking = IS_HELD_OUT & pl.col("doc_id").is_in(sides[1]["doc_id"].gather(np.unique(near)).implode())
    asked = pairs.filter(leaking)["query_id"].unique()
    kept = pairs.filter(~pl.col("query_id").is_in(asked.implode()))
    return kept, pairs.height - kept.height


def counts(chosen: pl.DataFrame, kept: pl.DataFrame) -> dict[str, Any]:
    """Return how many groups, passages and questions each split has, as a report shows them."""
    available = chosen.group_by("split").agg(document_groups=pl.col("group").n_unique(), passages=pl.len())
    questions = kept.group_by("split").agg(questions=pl.col("query_id").n_unique(), pairs=pl.len())
    table = available.join(questions, on="split", how="left", maintain_order="left").fill_null(0)
    return {"by_split": table.sort("split").to_dicts()}
