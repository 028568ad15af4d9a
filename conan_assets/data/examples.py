"""Sources without judgements: (query, positive, negatives), graded sentence pairs, labelled texts; a table a split."""

import hashlib
import logging

import polars as pl

from conan_assets.artifacts import fingerprint
from conan_assets.data.columns import TEXTS
from conan_assets.data.digests import Digest
from conan_assets.data.files import AnyPath, find_table, fingerprint_content, open_folder, tell_unread
from conan_assets.data.readers import read_table
from conan_assets.data.settings import (
    ClassificationSource,
    HubClassificationSource,
    HubPairsSource,
    HubStsSource,
    PairsSource,
    StsSource,
)
from conan_assets.data.tables import CORPUS, PAIRS, Table, TableError, check_table
from conan_assets.redaction import redacted

logger = logging.getLogger("conan_assets")

FolderOfExamples = PairsSource | StsSource | ClassificationSource
HubOfExamples = HubPairsSource | HubStsSource | HubClassificationSource

SPLITS = ("train", "dev", "test")
SUFFIXES = (".parquet", ".jsonl", ".csv", ".tsv")
PAIR_ROWS = Table(
    "pairs",
    {"query": pl.String, "positive": TEXTS, "negatives": TEXTS},
    ("query", "positive"),
    (),
    further={"negatives": r"negative(_\d+)?"},
)
"""``negative``, ``negative_1``, ... are what sentence-transformers and AutoTrain call columns of negatives."""

GRADED_ROWS = Table(
    "graded pairs",
    {"sentence1": pl.String, "sentence2": pl.String, "score": pl.Float32},
    ("sentence1", "sentence2", "score"),
    (),
)
LABELLED_ROWS = Table("labelled texts", {"text": pl.String, "label": pl.String}, ("text", "label"), ())

TABLES = {"pairs": PAIR_ROWS, "sts": GRADED_ROWS, "classification": LABELLED_ROWS}


def table_of_examples(settings: FolderOfExamples | HubOfExamples) -> Table:
    """Return the schema of the files or tables of a source."""
    return TABLES[settings.kind.removeprefix("hub_")]


def read_examples(name: str, settings: FolderOfExamples) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return (corpus, pairs) of a folder with a file for each split; raise TableError naming file, column and row."""
    tables = {split: (_read(settings, path), str(path)) for split, path in example_files(name, settings).items()}
    tell_unread(open_folder(name, settings.path), SPLITS)
    return assemble_examples(name, settings, tables)


def fingerprint_examples(name: str, settings: FolderOfExamples, digest: Digest) -> str:
    """Return a fingerprint of the content of the files that :func:`read_examples` reads."""
    return fingerprint(
        {split: fingerprint_content(path, digest) for split, path in example_files(name, settings).items()}
    )


def example_files(name: str, settings: FolderOfExamples) -> dict[str, AnyPath]:
    """Return the file of each split that a folder has; raise TableError if there is none."""
    folder = open_folder(name, settings.path)
    splits = SPLITS if settings.train else SPLITS[1:]
    found = {split: path for split in splits if (path := find_table(folder, split, SUFFIXES)) is not None}
    if not found:
        raise TableError(
            f"source {name}: {folder} holds no file {' or '.join(splits)} ({', '.join(SUFFIXES)}); add one"
        )
    return found


def _read(settings: FolderOfExamples, path: AnyPath) -> pl.DataFrame:
    return read_table(path, table_of_examples(settings), settings.columns, settings.max_text_bytes)


def without_empty_texts(rows: pl.DataFrame) -> pl.DataFrame:
    """Return ``rows`` without those that lack a text they need, and without empty texts in lists."""
    lists = [name for name, dtype in rows.schema.items() if dtype == TEXTS]
    filled = rows.with_columns(
        pl.col(name).list.eval(pl.element().filter(pl.element().str.strip_chars() != "")) for name in lists
    )
    needed = [name for name in filled.columns if name != "negatives"]
    has_text = [
        pl.col(name).list.len() > 0 if name in lists else pl.col(name).cast(pl.String).str.strip_chars() != ""
        for name in needed
    ]
    return filled.filter(has_text)


def assemble_examples(
    name: str, settings: FolderOfExamples | HubOfExamples, tables: dict[str, tuple[pl.DataFrame, str]]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return (corpus, pairs) from (rows, origin) of each split, after checking all of them.

    The corpus of pairs is every different positive and negative; negatives are pairs with a score of 0. The other
    kinds have an empty corpus.

    Raises
    ------
    TableError
        A column is missing or mis-typed or a text is empty; the message names the origin, the column and the row.
    """
    match settings:
        case PairsSource() | HubPairsSource():
            return _retrieval(name, tables)
        case StsSource() | HubStsSource():
            pairs = [_graded(name, settings.max_score, split, *table) for split, table in tables.items()]
        case _:
            pairs = [_labelled(name, split, *table) for split, table in tables.items()]
    return pl.DataFrame(schema=dict(CORPUS.columns)), check_table(pl.concat(pairs), PAIRS, f"source {name}")


def _retrieval(name: str, tables: dict[str, tuple[pl.DataFrame, str]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    judged = pl.concat([_judged(name, split, rows, origin) for split, (rows, origin) in tables.items()])
    corpus = judged.select("doc_id", "dataset", title=pl.lit(""), text="text").unique("doc_id", maintain_order=True)
    pairs = judged.with_columns(text=pl.lit(None, dtype=pl.String))
    return check_table(corpus, CORPUS, f"source {name}"), check_table(pairs, PAIRS, f"source {name}")


def _judged(name: str, split: str, rows: pl.DataFrame, origin: str) -> pl.DataFrame:
    """Return the positives (score 1) and negatives (0) of one split, the text of every document still in ``text``."""
    asked = check_table(rows, PAIR_ROWS, origin).with_row_index("row", offset=1)
    positives, negatives = _texts(asked, "positive", origin), _texts(asked, "negatives", origin).drop_nulls("text")
    for row in positives.filter(pl.col("text").is_null())["row"].head(1):
        raise TableError(f"{origin}: row {row}: column positive holds no text; fill it or drop the row")
    sides = [
        positives.with_columns(score=pl.lit(1.0, pl.Float32)),
        negatives.with_columns(score=pl.lit(0.0, pl.Float32)),
    ]
    query_id, doc_id = text_id(f"{name}:q", "query"), text_id(f"{name}:d", "text")
    identified = pl.concat(sides).with_columns(query_id=query_id, doc_id=doc_id)
    _tell_contradictions(identified, origin)
    distinct = identified.unique(["query_id", "doc_id"], keep="first", maintain_order=True)
    return as_pairs(distinct, name, "retrieval", split)


def _texts(rows: pl.DataFrame, column: str, origin: str) -> pl.DataFrame:
    """Return ``row``, ``query`` and ``text``, a row for each text of a column of lists; an empty list is a null.

    Raises
    ------
    TableError
        A text is empty.
    """
    texts = rows.select("row", "query", text=column).explode("text", empty_as_null=True)
    for row in texts.filter(pl.col("text").str.strip_chars() == "")["row"].head(1):
        raise TableError(f"{origin}: row {row}: column {column} holds an empty text; fill it or drop the row")
    return texts


def _tell_contradictions(judged: pl.DataFrame, origin: str) -> None:
    """Log how many negatives are also a positive of their query; they count as positives."""
    pair = ["query_id", "doc_id"]
    both = judged.filter(pl.col("score") == 0).join(judged.filter(pl.col("score") > 0), on=pair, how="semi")
    if both.height:
        logger.warning(
            "%s: %s negatives are positives of the same query, the first in row %s; they are taken as positives",
            redacted(origin),
            f"{both.height:,}",
            both["row"].min(),
        )


def _graded(name: str, max_score: float | None, split: str, rows: pl.DataFrame, origin: str) -> pl.DataFrame:
    checked = check_table(rows, GRADED_ROWS, origin)
    above = checked.with_row_index("row", offset=1).filter(pl.col("score") > (max_score or float("inf")))
    for row, score in above.select("row", "score").head(1).iter_rows():
        raise TableError(
            f"{origin}: row {row}: column score ({score}) is above sources.{name}.max_score, {max_score}; correct one"
        )
    return as_pairs(
        checked.select(
            _row_id(name, split), query="sentence1", text="sentence2", score=pl.col("score") / (max_score or 1.0)
        ),
        name,
        "sts",
        split,
    )


def _labelled(name: str, split: str, rows: pl.DataFrame, origin: str) -> pl.DataFrame:
    checked = check_table(rows, LABELLED_ROWS, origin)
    return as_pairs(
        checked.select(_row_id(name, split), query="text", text="label", score=pl.lit(1.0)),
        name,
        "classification",
        split,
    )


def as_pairs(rows: pl.DataFrame, name: str, task: str, split: str) -> pl.DataFrame:
    """Return rows (query_id, query, text, score and, for documents of a corpus, doc_id) in the schema of PAIRS."""
    doc_id = pl.col("doc_id") if "doc_id" in rows.columns else pl.lit(None, dtype=pl.String)
    return rows.select(
        pair_id=pl.concat_str("query_id", pl.lit(f":{split}:"), doc_id.fill_null("")),
        task=pl.lit(task),
        dataset=pl.lit(name),
        origin=pl.lit("natural"),
        split=pl.lit(split),
        query_id="query_id",
        query="query",
        doc_id=doc_id,
        text="text",
        score=pl.col("score").cast(pl.Float32),
    )


def _row_id(name: str, split: str) -> pl.Expr:
    return pl.concat_str(pl.lit(f"{name}:{split}:"), pl.int_range(pl.len())).alias("query_id")


def text_id(prefix: str, column: str) -> pl.Expr:
    """Return an id of a text by its content: the same text has the same id in every split and every run."""
    return pl.col(column).map_elements(
        lambda text: f"{prefix}{hashlib.sha256(text.encode()).hexdigest()[:16]}", return_dtype=pl.String
    )
