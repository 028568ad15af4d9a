"""How written questions look beside real ones: their length, the words they share with their passages, their form."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from conan_assets.data.shingles import words
from conan_assets.data.tables import DOCUMENT_TEXT

QUESTION_MARK = r"[?？]\s*$"
FORMS = {
    "asks_how_or_why": r"(?i)\b(how|why)\b|怎么|怎样|如何|为什么|为何",
    "compares": r"(?i)\b(versus|vs\.?|compared?|difference|differs?|better|than|instead)\b|区别|不同|比较|相比|还是",
    "names_a_fact": r"(?i)\b(what|which|who|whose|when|where)\b|什么|哪|谁|何时|多少|几",
}
"""What a query is by its words, in English and Chinese; the first that fits. The rest are other questions if they end
in a question mark, and keywords if not."""


FORM = pl.coalesce(
    *(pl.when(pl.col("query").str.contains(pattern)).then(pl.lit(name)) for name, pattern in FORMS.items()),
    pl.when(pl.col("query").str.contains(QUESTION_MARK)).then(pl.lit("other_question")),
    pl.lit("keywords"),
)


def describe_questions(
    written: pl.DataFrame, real: pl.DataFrame, corpus: pl.DataFrame, examples: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Return a row for each split of written questions, for the real queries and for the examples that were shown.

    ``mean_words`` counts characters in Chinese; ``words_in_passage`` is the mean share of a question's different words
    that stand in its passage, which is 1 for a copied sentence. The columns after ``with_question_mark`` are shares
    too, and say what the queries are by their words.

    Parameters
    ----------
    written, real
        PAIRS; of the real ones those with a score above 0 count, and each query once.
    corpus
        CORPUS that their documents stand in.
    examples
        Real queries without a passage.
    """
    asked = [
        written.select("query_id", "query", "doc_id", of=pl.concat_str(pl.lit("written, "), "split")),
        real.filter(pl.col("score") > 0).select("query_id", "query", "doc_id", of=pl.lit("real")),
    ]
    questions = pl.concat(asked).drop_nulls("doc_id").unique(["of", "query_id"], keep="first", maintain_order=True)
    shown = pl.DataFrame({"query": list(examples)}, schema={"query": pl.String}).with_columns(of=pl.lit("examples"))
    measured = _measured(pl.concat([questions, shown], how="diagonal"), corpus)
    shares = [(pl.col("form") == name).mean().round(3).alias(name) for name in (*FORMS, "other_question", "keywords")]
    table = measured.with_columns(form=FORM).group_by("of", maintain_order=True)
    return table.agg(pl.len().alias("questions"), *LOOKS, *shares).to_dicts()


def describe_kinds(written: pl.DataFrame, corpus: pl.DataFrame) -> list[dict[str, Any]]:
    """Return a row for each kind of question that was asked for: how many are left, how they look, and one to read."""
    questions = written.drop_nulls("kind").unique("query_id", keep="first", maintain_order=True)
    table = _measured(questions.select("query", "doc_id", "kind"), corpus).group_by("kind", maintain_order=True)
    counted = table.agg(pl.len().alias("questions"), *LOOKS, example=pl.col("query").first())
    return counted.with_columns(share=(pl.col("questions") / questions.height).round(3)).sort("kind").to_dicts()


LOOKS = (
    pl.col("asked").list.len().mean().round(1).alias("mean_words"),
    pl.col("shared").mean().round(3).alias("words_in_passage"),
    pl.col("query").str.contains(QUESTION_MARK).mean().round(3).alias("with_question_mark"),
)


def _measured(questions: pl.DataFrame, corpus: pl.DataFrame) -> pl.DataFrame:
    """Return the rows with ``asked`` (their words) and ``shared`` (the share of these that their passage has)."""
    passages = corpus.select("doc_id", passage=DOCUMENT_TEXT)
    both = questions.join(passages, on="doc_id", how="left", maintain_order="left")
    terms = both.with_columns(asked=words(both["query"]), told=words(both["passage"].fill_null("")))
    different = pl.col("asked").list.unique()
    shared = different.list.set_intersection(pl.col("told")).list.len() / different.list.len()
    return terms.with_columns(shared=pl.when(pl.col("passage").is_not_null()).then(shared))
