"""How written questions look beside real ones: their length, the words they share with their passages, their form."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from conan_assets.data.shingles import words
from conan_assets.data.tables import DOCUMENT_TEXT

QUESTION_MARK = r"[?？]\s*$"


def describe_questions(
    written: pl.DataFrame, real: pl.DataFrame, corpus: pl.DataFrame, examples: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Return a row for each split of written questions, for the real queries and for the examples that were shown.

    ``mean_words`` counts characters in Chinese; ``words_in_passage`` is the mean share of a question's different words
    that stand in its passage, which is 1 for a copied sentence.

    Parameters
    ----------
    written, real
        PAIRS; of the real ones those with a score above 0 count, and each query once.
    corpus
        CORPUS that their documents stand in.
    examples
        Real queries without a passage.
    """
    passages = corpus.select("doc_id", passage=DOCUMENT_TEXT)
    asked = [
        written.select("query_id", "query", "doc_id", of=pl.concat_str(pl.lit("written, "), "split")),
        real.filter(pl.col("score") > 0).select("query_id", "query", "doc_id", of=pl.lit("real")),
    ]
    questions = pl.concat(asked).drop_nulls("doc_id").unique(["of", "query_id"], maintain_order=True)
    shown = pl.DataFrame({"query": list(examples)}, schema={"query": pl.String}).with_columns(of=pl.lit("examples"))
    both = pl.concat([questions.join(passages, on="doc_id", how="left", maintain_order="left"), shown], how="diagonal")
    terms = both.with_columns(asked=words(both["query"]), told=words(both["passage"].fill_null("")))
    different = pl.col("asked").list.unique()
    measured = terms.with_columns(
        shared=pl.when(pl.col("passage").is_not_null()).then(
            different.list.set_intersection(pl.col("told")).list.len() / different.list.len()
        )
    )
    table = measured.group_by("of", maintain_order=True).agg(
        questions=pl.len(),
        mean_words=pl.col("asked").list.len().mean().round(1),
        words_in_passage=pl.col("shared").mean().round(3),
        with_question_mark=pl.col("query").str.contains(QUESTION_MARK).mean().round(3),
    )
    return table.to_dicts()
