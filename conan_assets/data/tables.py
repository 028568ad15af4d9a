"""The schema of every table, and the one check that a frame passes before it becomes one.

Ids are strings and unique over all datasets: ``<dataset>:<id in its source>``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from conan_assets.data.columns import CellError, Dtype, converted
from conan_assets.redaction import redacted

DOCUMENT_TEXT = pl.concat_str(pl.col("title").fill_null(""), pl.lit(" "), pl.col("text")).str.strip_chars()
"""What is indexed, encoded and trained on for a document: its title before its text."""


class TableError(ValueError):
    """A table breaks its schema; the message names the source, the column and the row, without credentials."""

    def __init__(self, message: str) -> None:
        super().__init__(redacted(message))


@dataclass(frozen=True)
class Table:
    """A table's name, its columns, and what must hold in them.

    ``required`` columns hold no null and no blank string; ``key`` columns, if any, together occur once and hold no
    control characters. ``further`` has patterns of columns whose texts add to a column of lists.
    ``descriptions`` say what stands in a column.
    """

    name: str
    columns: Mapping[str, Dtype]
    required: tuple[str, ...]
    key: tuple[str, ...]
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    descriptions: Mapping[str, str] = field(default_factory=dict)
    further: Mapping[str, str] = field(default_factory=dict)


CORPUS = Table(
    name="corpus",
    columns={"doc_id": pl.String, "dataset": pl.String, "title": pl.String, "text": pl.String},
    required=("doc_id", "dataset", "text"),
    key=("doc_id",),
    descriptions={
        "doc_id": "The document's id: that of its source after the source's name.",
        "dataset": "Name of the source that it comes from.",
        "title": "Its title, or empty; encoded before the text.",
        "text": "Its text.",
    },
)

PAIRS = Table(
    name="pairs",
    columns={
        "pair_id": pl.String,
        "task": pl.String,
        "dataset": pl.String,
        "origin": pl.String,
        "split": pl.String,
        "query_id": pl.String,
        "query": pl.String,
        "doc_id": pl.String,
        "text": pl.String,
        "score": pl.Float32,
    },
    required=("pair_id", "task", "dataset", "origin", "split", "query_id", "query"),
    key=("pair_id",),
    choices={
        "task": ("retrieval", "sts", "classification"),
        "origin": ("natural", "llm", "extractive"),
        "split": ("train", "dev", "test"),
    },
    descriptions={
        "pair_id": "The pair's id.",
        "task": "What it trains: retrieval, sts (graded pairs) or classification.",
        "dataset": "Name of the source that it comes from.",
        "origin": "Who wrote it: natural, llm or extractive.",
        "split": "train, dev or test.",
        "query_id": "The query's id: equal for all pairs of a query.",
        "query": "The query, the first sentence of a graded pair, or the labelled text.",
        "doc_id": "The document of a retrieval pair, in the corpus; null for the others.",
        "text": "The document outside the corpus, the second sentence, or the label.",
        "score": "Above 0 relevant, 0 judged irrelevant; of graded pairs the grade.",
    },
)
"""One row a judged pair. A retrieval pair names its document by ``doc_id``, or holds a ``text`` outside the corpus;
an STS pair holds the second sentence in ``text``; a classification pair holds the label there."""

WRITTEN_PAIRS_VERSION = 2
"""Raise it with the columns of WRITTEN_PAIRS."""

WRITTEN_PAIRS = Table(
    name="written pairs",
    columns={
        **PAIRS.columns,
        "passage_id": pl.String,
        "second_passage_id": pl.String,
        "document_group": pl.String,
        "generator": pl.String,
        "asked_for": pl.String,
        "kind": pl.String,
        "answer_key": pl.String,
        "rank": pl.Int64,
        "teacher_score": pl.Float32,
        "grade": pl.Float32,
    },
    required=(*PAIRS.required, "passage_id", "generator"),
    key=PAIRS.key,
    choices=PAIRS.choices,
    descriptions={
        **PAIRS.descriptions,
        "passage_id": "The passage that it was written from, in the corpus.",
        "second_passage_id": "The other passage, of a question that needs two.",
        "document_group": "One of the documents that say the same as the passage's; all of them are in one split.",
        "generator": "What wrote it: the model, or extractive.",
        "asked_for": "The template of its prompt, and the persona, kind and length that were drawn for it.",
        "kind": "The kind of question that its prompt asked for: factual, keywords, ...; null for other tasks.",
        "answer_key": "The answer's key in the journal: a fingerprint of prompt, model and parameters.",
        "rank": "Where the gates' teacher finds the passage for the query, from 1.",
        "teacher_score": "The cosine that the gates' teacher gives the two texts.",
        "grade": "The lowest of the model's grades for the query, from 1 to 5; of a hard negative, with its text.",
    },
)
"""A pair that was written, and how it came to be; WRITTEN_PAIRS has the columns of PAIRS first."""

CANDIDATES = Table(
    name="candidates",
    columns={
        "query_id": pl.String,
        "doc_id": pl.String,
        "rank": pl.Int32,
        "score": pl.Float32,
        "is_positive": pl.Boolean,
    },
    required=("query_id", "doc_id", "score", "is_positive"),
    key=("query_id", "doc_id"),
    descriptions={
        "query_id": "The query's id.",
        "doc_id": "A document that the teacher scored.",
        "rank": "Its place among the query's documents, from 1; null for positives below the depth.",
        "score": "The teacher's score.",
        "is_positive": "Whether it is judged relevant.",
    },
)
"""A teacher's best documents of every query (``rank`` from 1) and all its positives (``rank`` null below the depth)."""

NEGATIVES = Table(
    name="negatives",
    columns={
        "query_id": pl.String,
        "doc_id": pl.String,
        "rank": pl.Int32,
        "student_score": pl.Float32,
        "verdict": pl.String,
        "reason": pl.String,
        "order": pl.Int32,
    },
    required=("query_id", "doc_id", "verdict"),
    key=("query_id", "doc_id"),
    choices={"verdict": ("kept", "removed")},
    descriptions={
        "query_id": "The query's id.",
        "doc_id": "A candidate.",
        "rank": "Its place among the query's candidates, from 1.",
        "student_score": "Score under the checkpoint that is about to be trained.",
        "verdict": "kept as a negative, or removed.",
        "reason": "Why it was removed, or kept although no rule looked at it.",
        "order": "Place among the query's kept negatives, from 1: the order in which training takes them.",
        "copies": "How often it counts in the loss.",
        "found_by": "The sources whose search found it; null for one that was judged, written or drawn at random.",
    },
)
"""Every candidate with its verdict; a column ``<teacher>_score`` for each teacher stands between ``student_score``
and ``verdict``. ``order`` counts a query's kept negatives from 1 in the order training takes them."""

QUERY_DROPPED = "query_dropped_for_shortage"
"""The reason of a kept candidate's removal when its query had too few and is not trained on at all."""


def describe_columns(columns: Sequence[str]) -> dict[str, str]:
    """Return what stands in each of ``columns``, which are those of a table here and more."""
    held = [
        table for table in (CORPUS, PAIRS, WRITTEN_PAIRS, CANDIDATES, NEGATIVES) if set(table.columns) <= set(columns)
    ]
    if not held:
        return {}
    scores = {name: f"Score under the teacher {name.removesuffix('_score')}." for name in columns if "_score" in name}
    return {**scores, **max(held, key=lambda table: len(table.columns)).descriptions}


def check_table(frame: pl.DataFrame, table: Table, source: str) -> pl.DataFrame:
    """Return ``frame`` in the table's column order and types; raise TableError naming ``source``, column and row."""
    missing = [name for name in table.columns if name not in frame.columns]
    if missing:
        raise TableError(
            f"{source}: the {table.name} table lacks the column {missing[0]!r}; "
            f"it has {', '.join(frame.columns) or 'no columns'} and needs {', '.join(table.columns)}"
        )
    frame = _cast(frame, table, source)
    for name in table.required:
        _reject(frame, _is_blank(frame.schema[name], name), source, name, "is empty; fill it or drop the row")
    for name, dtype in table.columns.items():
        if dtype.is_float():
            _reject(frame, pl.col(name).is_finite().not_(), source, name, "is not a finite number")
    for name, allowed in table.choices.items():
        _reject(frame, ~pl.col(name).is_in(allowed), source, name, f"must be one of {', '.join(allowed)}")
    for name in (name for name in table.key if table.columns[name] == pl.String):
        controls = pl.col(name).str.contains(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
        _reject(frame, controls, source, name, "is an id with control characters in it; take them out")
    if table.key:
        repeated = pl.struct(table.key).is_first_distinct().not_()
        _reject(frame, repeated, source, " + ".join(table.key), "occurs twice; ids must be unique")
    return frame


def _cast(frame: pl.DataFrame, table: Table, source: str) -> pl.DataFrame:
    for name, dtype in table.columns.items():
        try:
            frame = frame.with_columns(converted(frame[name], dtype).alias(name))
        except CellError as error:
            raise TableError(
                f"{source}: row {error.row + 1}: column {name} {error}; correct it or drop the row"
            ) from None
    extra = [name for name in frame.columns if name not in table.columns]
    return frame.select(*table.columns, *extra)


def _is_blank(dtype: pl.DataType, name: str) -> pl.Expr:
    blank = pl.col(name).is_null()
    return blank | (pl.col(name).str.strip_chars() == "") if dtype == pl.String else blank


def _reject(frame: pl.DataFrame, broken: pl.Expr, source: str, column: str, why: str) -> None:
    """Raise TableError about the first row for which ``broken`` holds; rows count from 1, a header not counted."""
    rows = frame.with_row_index("row", offset=1).filter(broken).head(1)
    if rows.height:
        identifier = frame.columns[0]
        value = rows[column].item() if column in rows.columns else None
        raise TableError(
            f"{source}: row {rows['row'].item()} ({identifier} {rows[identifier].item()!r}): column {column} "
            f"{f'({value!r}) ' if value is not None else ''}{why}"
        )
