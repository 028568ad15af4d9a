"""Sources without judgements: (query, positive, negatives), graded sentence pairs, labelled texts; a table a split."""

import hashlib
import json

import polars as pl

from conan_assets.artifacts import fingerprint
from conan_assets.data.digests import Digest
from conan_assets.data.files import AnyPath, find_table, fingerprint_content, open_folder, read_table
from conan_assets.data.settings import (
    ClassificationSource,
    HubClassificationSource,
    HubPairsSource,
    HubStsSource,
    PairsSource,
    StsSource,
)
from conan_assets.data.tables import CORPUS, PAIRS, Table, TableError, check_table

FolderOfExamples = PairsSource | StsSource | ClassificationSource
HubOfExamples = HubPairsSource | HubStsSource | HubClassificationSource

SPLITS = ("train", "dev", "test")
SUFFIXES = (".parquet", ".jsonl", ".csv", ".tsv")
TEXT_FORMATS = (".csv", ".tsv")

NEEDED = ("query", "positive", "sentence1", "sentence2", "score", "text", "label")
QUERY_ROWS = Table("pairs", {"query": pl.String}, ("query",), ())
GRADED_ROWS = Table(
    "graded pairs",
    {"sentence1": pl.String, "sentence2": pl.String, "score": pl.Float32},
    ("sentence1", "sentence2", "score"),
    (),
)
LABELLED_ROWS = Table("labelled texts", {"text": pl.String, "label": pl.String}, ("text", "label"), ())


def read_examples(name: str, settings: FolderOfExamples) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return (corpus, pairs) of a folder with a file for each split; raise TableError naming file, column and row."""
    tables = {split: (_read(settings, path), str(path)) for split, path in example_files(name, settings).items()}
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
    rows = with_names(read_table(path), settings.columns, str(path))
    return _with_negative_lists(rows, str(path)) if path.suffix in TEXT_FORMATS else rows


def with_names(rows: pl.DataFrame, columns: dict[str, str], origin: str) -> pl.DataFrame:
    """Return ``rows`` with the columns of a mapping {name here: name there} under their names here.

    Raises
    ------
    TableError
        A column of the mapping is missing; the message names it and ``origin``.
    """
    missing = [column for column in columns.values() if column not in rows.columns]
    if missing:
        raise TableError(
            f"{origin} lacks the column {missing[0]!r} of its column mapping; it has {', '.join(rows.columns)}"
        )
    return rows.with_columns(pl.col(there).alias(here) for here, there in columns.items())


def _with_negative_lists(rows: pl.DataFrame, origin: str) -> pl.DataFrame:
    """Return ``rows`` with the column ``negatives``, JSON lists in a format without lists, as lists of texts."""
    if "negatives" not in rows.columns:
        return rows
    lists = [_json_list(cell, number, origin) for number, cell in enumerate(rows["negatives"], start=1)]
    return rows.with_columns(negatives=pl.Series(lists, dtype=pl.List(pl.String)))


def _json_list(cell: str | None, row: int, origin: str) -> list[str]:
    if not cell:
        return []
    try:
        texts = json.loads(cell)
    except ValueError:
        texts = None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise TableError(
            f'{origin}: row {row}: column negatives ({cell[:80]!r}) is not a JSON list of texts, such as ["a", "b"]'
        )
    return texts


def without_empty_texts(rows: pl.DataFrame) -> pl.DataFrame:
    """Return ``rows`` without those that lack a text they need, and without empty texts in lists."""
    lists = [name for name, dtype in rows.schema.items() if dtype == pl.List(pl.String)]
    filled = rows.with_columns(
        pl.col(name).list.eval(pl.element().filter(pl.element().str.strip_chars() != "")) for name in lists
    )
    if filled.schema.get("negatives") == pl.String:
        filled = filled.with_columns(negatives=pl.col("negatives").replace("", None))
    needed = [name for name in NEEDED if name in filled.columns]
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
    asked = check_table(rows, QUERY_ROWS, origin).with_row_index("row", offset=1)
    sides = [_texts(asked, "positive", origin).with_columns(score=pl.lit(1.0, pl.Float32))]
    if sides[0]["text"].null_count():
        row = sides[0].filter(pl.col("text").is_null())["row"][0]
        raise TableError(f"{origin}: row {row}: column positive holds no text; fill it or drop the row")
    if "negatives" in rows.columns:
        negatives = _texts(asked, "negatives", origin).drop_nulls("text")
        sides.append(negatives.with_columns(score=pl.lit(0.0, pl.Float32)))
    query_id, doc_id = _text_id(f"{name}:q", "query"), _text_id(f"{name}:d", "text")
    identified = pl.concat(sides).with_columns(query_id=query_id, doc_id=doc_id)
    distinct = identified.unique(["query_id", "doc_id"], keep="first", maintain_order=True)
    return _as_pairs(distinct, name, "retrieval", split)


def _texts(rows: pl.DataFrame, column: str, origin: str) -> pl.DataFrame:
    """Return ``row``, ``query`` and ``text``, a row for each text of a column of texts or lists of texts.

    An empty list is a null.

    Raises
    ------
    TableError
        The column is missing, or holds something else or an empty text.
    """
    if column not in rows.columns:
        raise TableError(f"{origin}: the pairs table lacks the column {column!r}; it has {', '.join(rows.columns[1:])}")
    dtype = rows.schema[column]
    if dtype not in (pl.String, pl.Null, pl.List(pl.String), pl.List(pl.Null)):
        raise TableError(f"{origin}: column {column!r} holds {dtype}, not texts or lists of texts; convert the column")
    texts = rows.select("row", "query", text=column)
    if isinstance(dtype, pl.List):
        texts = texts.explode("text", empty_as_null=True)
    texts = texts.cast({"text": pl.String})
    for row in texts.filter(pl.col("text").str.strip_chars() == "")["row"].head(1):
        raise TableError(f"{origin}: row {row}: column {column} holds an empty text; fill it or drop the row")
    return texts


def _graded(name: str, max_score: float | None, split: str, rows: pl.DataFrame, origin: str) -> pl.DataFrame:
    checked = check_table(rows, GRADED_ROWS, origin)
    above = checked.with_row_index("row", offset=1).filter(pl.col("score") > (max_score or float("inf")))
    for row, score in above.select("row", "score").head(1).iter_rows():
        raise TableError(
            f"{origin}: row {row}: column score ({score}) is above sources.{name}.max_score, {max_score}; correct one"
        )
    return _as_pairs(
        checked.select(
            _row_id(name, split), query="sentence1", text="sentence2", score=pl.col("score") / (max_score or 1.0)
        ),
        name,
        "sts",
        split,
    )


def _labelled(name: str, split: str, rows: pl.DataFrame, origin: str) -> pl.DataFrame:
    checked = check_table(rows, LABELLED_ROWS, origin)
    return _as_pairs(
        checked.select(_row_id(name, split), query="text", text="label", score=pl.lit(1.0)),
        name,
        "classification",
        split,
    )


def _as_pairs(rows: pl.DataFrame, name: str, task: str, split: str) -> pl.DataFrame:
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


def _text_id(prefix: str, column: str) -> pl.Expr:
    """Return an id of a text by its content: the same text has the same id in every split and every run."""
    return pl.col(column).map_elements(
        lambda text: f"{prefix}{hashlib.sha256(text.encode()).hexdigest()[:16]}", return_dtype=pl.String
    )
