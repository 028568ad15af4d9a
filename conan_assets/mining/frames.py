"""The frames that a Python user gives to mining, as the tables it works on."""

from typing import Any

import polars as pl

from conan_assets.data.intake import Intake
from conan_assets.data.tables import Table, check_table
from conan_assets.mining.collection import MiningError

FrameLike = Any
"""A frame of polars or pandas, a ``datasets.Dataset`` or an Arrow table."""

DATASET = "corpus"
LONGEST_TEXT_BYTES = 2**31 - 1

QUERIES = Table("queries", {"query_id": pl.String, "text": pl.String}, required=("query_id", "text"), key=("query_id",))
DOCUMENTS = Table(
    "corpus",
    {"doc_id": pl.String, "title": pl.String, "text": pl.String},
    required=("doc_id", "text"),
    key=("doc_id",),
)
POSITIVES = Table("positives", {"query_id": pl.String, "doc_id": pl.String}, required=("query_id", "doc_id"), key=())


def as_frame(frame: FrameLike, name: str) -> pl.DataFrame:
    """Return a frame of polars; raise MiningError, which names it, for what is none."""
    if isinstance(frame, pl.DataFrame):
        return frame
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    if hasattr(frame, "with_format"):
        frame = frame.with_format("arrow")[:]
    if hasattr(frame, "iloc"):
        return _of_pandas(frame, name)
    if hasattr(frame, "__arrow_c_stream__"):
        return pl.DataFrame(frame)
    raise MiningError(
        f"{name} is a {type(frame).__name__}: give a frame of polars or pandas, a datasets.Dataset or an Arrow table"
    )


def _of_pandas(frame: FrameLike, name: str) -> pl.DataFrame:
    """Return a frame of pandas, whose columns may hold anything: what is no column of one type is read as texts."""
    columns = {}
    for place, column in enumerate(frame.columns):
        if column in columns:
            raise MiningError(f"{name}: the column {column!r} is there twice; rename one of them")
        cells = frame.iloc[:, place]
        try:
            columns[column] = pl.Series(cells)
        except Exception:  # whatever Arrow raises about cells of several types
            columns[column] = pl.Series(cells.tolist(), dtype=pl.Object)
    return pl.DataFrame({str(column): cells for column, cells in columns.items()})


def tables_of(
    queries: pl.DataFrame, corpus: pl.DataFrame, positives: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return the queries, CORPUS, and the positives as retrieval pairs in the order of the queries, all checked."""
    asked = _checked(queries, QUERIES, "queries")
    documents = _checked(corpus, DOCUMENTS, "corpus").with_columns(pl.col("title").fill_null(""))
    judged = _checked(positives, POSITIVES, "positives").unique(maintain_order=True)
    for query_id in judged.join(asked, on="query_id", how="anti")["query_id"].head(1):
        raise MiningError(f"positives: the query {query_id!r} is not among the queries")
    pairs = asked.rename({"text": "query"}).join(judged, on="query_id", maintain_order="left")
    constants = {"task": "retrieval", "dataset": DATASET, "origin": "natural", "split": "train"}
    pairs = pairs.with_columns(
        pair_id=pl.concat_str("query_id", pl.lit("+"), "doc_id"),
        text=pl.lit(None, pl.String),
        score=pl.lit(1.0, pl.Float32),
        **{name: pl.lit(value) for name, value in constants.items()},
    )
    return asked, documents.select("doc_id", dataset=pl.lit(DATASET), title="title", text="text"), pairs


def _checked(frame: pl.DataFrame, table: Table, name: str) -> pl.DataFrame:
    intake = Intake(table, name, max_text_bytes=LONGEST_TEXT_BYTES)
    intake.see(frame.columns)
    wanted = frame.select(intake.wanted(frame.columns)).to_dict()
    intake.add(
        {name: cells.to_list() if cells.dtype == pl.Object else cells for name, cells in wanted.items()}, frame.height
    )
    return check_table(intake.frame(), table, name)
