"""Sources without judgements: (query, positive, negatives), graded sentence pairs, labelled texts; a file a split."""

import hashlib
from pathlib import Path

import polars as pl

from conan_assets.artifacts import fingerprint, fingerprint_file
from conan_assets.data.files import find_table, read_table
from conan_assets.data.settings import ClassificationSource, PairsSource, StsSource
from conan_assets.data.tables import CORPUS, PAIRS, Table, TableError, check_table

ExamplesSource = PairsSource | StsSource | ClassificationSource

SPLITS = ("train", "dev", "test")
SUFFIXES = (".parquet", ".jsonl", ".csv", ".tsv")

ROWS = {
    "pairs": Table("pairs", {"query": pl.String, "positive": pl.String}, ("query", "positive"), ()),
    "sts": Table(
        "graded pairs",
        {"sentence1": pl.String, "sentence2": pl.String, "score": pl.Float32},
        ("sentence1", "sentence2", "score"),
        (),
    ),
    "classification": Table("labelled texts", {"text": pl.String, "label": pl.String}, ("text", "label"), ()),
}


def read_examples(name: str, settings: ExamplesSource) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return (corpus, pairs) of a folder with a file for each split; raise TableError naming file, column and row.

    The corpus of ``pairs`` is every different positive and negative; negatives are pairs with a score of 0. The other
    kinds have an empty corpus.
    """
    tables = {split: _read(settings, path) for split, path in _files(name, settings).items()}
    pairs = pl.concat([_pairs_of_split(name, settings, split, rows) for split, rows in tables.items()])
    if settings.kind != "pairs":
        return pl.DataFrame(schema=dict(CORPUS.columns)), check_table(pairs, PAIRS, f"source {name}")
    corpus = pairs.select("doc_id", "dataset", title=pl.lit(""), text="text").unique("doc_id", maintain_order=True)
    pairs = pairs.with_columns(text=pl.lit(None, dtype=pl.String))
    return check_table(corpus, CORPUS, f"source {name}"), check_table(pairs, PAIRS, f"source {name}")


def fingerprint_examples(name: str, settings: ExamplesSource) -> str:
    """Return a fingerprint of the content of the files that :func:`read_examples` reads."""
    return fingerprint({split: fingerprint_file(path) for split, path in _files(name, settings).items()})


def _files(name: str, settings: ExamplesSource) -> dict[str, Path]:
    folder = settings.path.expanduser()
    if not folder.is_dir():
        raise TableError(f"source {name}: there is no folder {folder}; correct sources.{name}.path")
    splits = SPLITS if settings.train else SPLITS[1:]
    found = {split: path for split in splits if (path := find_table(folder, split, SUFFIXES)) is not None}
    if not found:
        raise TableError(
            f"source {name}: {folder} holds no file {' or '.join(splits)} ({', '.join(SUFFIXES)}); add one"
        )
    return found


def _read(settings: ExamplesSource, path: Path) -> pl.DataFrame:
    rows = read_table(path)
    missing = [column for column in settings.columns.values() if column not in rows.columns]
    if missing:
        raise TableError(f"{path} lacks the column {missing[0]!r} of its mapping; it has {', '.join(rows.columns)}")
    named = {here: pl.col(there) for here, there in settings.columns.items()}
    return check_table(rows.with_columns(**named), ROWS[settings.kind], str(path)).with_row_index("row")


def _pairs_of_split(name: str, settings: ExamplesSource, split: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Return one split in the schema of PAIRS, the text of every document still in ``text``."""
    match settings:
        case StsSource():
            sides = rows.select("row", query="sentence1", text="sentence2", score="score")
        case ClassificationSource():
            sides = rows.select("row", query="text", text="label", score=pl.lit(1.0, dtype=pl.Float32))
        case PairsSource():
            sides = _positives_and_negatives(rows)
    is_retrieval = settings.kind == "pairs"
    query_id = _text_id(f"{name}:q", "query") if is_retrieval else _row_id(name, split)
    doc_id = _text_id(f"{name}:d", "text") if is_retrieval else pl.lit(None, dtype=pl.String)
    identified = sides.with_columns(query_id=query_id, doc_id=doc_id)
    if is_retrieval:
        identified = identified.unique(["query_id", "doc_id"], keep="first", maintain_order=True)
    return identified.select(
        pair_id=pl.concat_str("query_id", pl.lit(f":{split}:"), pl.col("doc_id").fill_null("")),
        task=pl.lit("retrieval" if is_retrieval else settings.kind),
        dataset=pl.lit(name),
        origin=pl.lit("natural"),
        split=pl.lit(split),
        query_id="query_id",
        query="query",
        doc_id="doc_id",
        text="text",
        score="score",
    )


def _positives_and_negatives(rows: pl.DataFrame) -> pl.DataFrame:
    positives = rows.select("row", "query", text="positive", score=pl.lit(1.0, dtype=pl.Float32))
    if rows.schema.get("negatives") != pl.List(pl.String):
        return positives
    negatives = rows.select("row", "query", text="negatives", score=pl.lit(0.0, dtype=pl.Float32)).explode("text")
    return pl.concat([positives, negatives.drop_nulls("text")])


def _row_id(name: str, split: str) -> pl.Expr:
    return pl.concat_str(pl.lit(f"{name}:{split}:"), "row")


def _text_id(prefix: str, column: str) -> pl.Expr:
    """Return an id of a text by its content: the same text has the same id in every split and every run."""
    return pl.col(column).map_elements(
        lambda text: f"{prefix}{hashlib.sha256(text.encode()).hexdigest()[:16]}", return_dtype=pl.String
    )
