"""What a search log holds, whichever way its rows are written: a showing for each document of each search."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from conan_assets.data.columns import TEXTS, TIME
from conan_assets.data.files import OF_TABLES, AnyPath, naming, open_folder
from conan_assets.data.readers import TAKE, read_table
from conan_assets.data.settings import QueryLogSource
from conan_assets.data.tables import Table, TableError

SEARCHES = Table(
    "searches",
    {"query": pl.String, "shown": TEXTS, "clicked": TEXTS, "time": TIME},
    ("query", "shown", "clicked", "time"),
    (),
)
IMPRESSIONS = Table(
    "impressions",
    {
        "query": pl.String,
        "doc_id": pl.String,
        "position": pl.Int64,
        "clicked": pl.String,
        "time": TIME,
        "search": pl.String,
    },
    ("query", "doc_id", "position", "clicked", "time"),
    (),
)
CLICKED = r"true|false|\d+"


@dataclass(frozen=True)
class Log:
    """The searches of a log.

    Attributes
    ----------
    searches
        ``search`` (an id), ``query`` and ``time``, a row for each search.
    showings
        ``search``, ``doc_id`` (as the log has it), ``position`` from 1 and ``clicked``: once for each document that a
        search showed, at its best position.
    report
        What was found in the log and cannot be used.
    """

    searches: pl.DataFrame
    showings: pl.DataFrame
    report: Mapping[str, int] = field(default_factory=dict)


def log_files(name: str, settings: QueryLogSource) -> list[AnyPath]:
    """Return the files of a log, sorted by name; raise TableError if there is none, or one of another format."""
    folder = open_folder(name, settings.path)
    with naming(folder):
        tables = sorted(
            (file for file in folder.iterdir() if file.name.startswith("log") and OF_TABLES.search(file.name)),
            key=lambda file: file.name,
        )
    for file in tables:
        if file.suffix not in TAKE:
            raise TableError(f"{file} is not read: unpack, convert or rename it to one of {', '.join(TAKE)}")
    if not tables:
        raise TableError(f"source {name}: {folder} holds no file log* ({', '.join(TAKE)}); add one")
    return tables


def read_log(name: str, settings: QueryLogSource) -> Log:
    """Return what all files of a log hold.

    Raises
    ------
    TableError
        A column is missing, or a cell is not what its column holds; the message names file, row and column.
    """
    schema, take = (SEARCHES, _from_searches) if settings.rows == "searches" else (IMPRESSIONS, _from_impressions)
    rows = [_rows(path, schema, settings) for path in log_files(name, settings)]
    return take(pl.concat(rows).with_row_index("number"))


def _rows(path: AnyPath, schema: Table, settings: QueryLogSource) -> pl.DataFrame:
    rows = read_table(path, schema, settings.columns, settings.max_text_bytes)
    _refuse(path, rows, "time", pl.col("time").is_null(), "is empty")
    if schema is SEARCHES:
        for column in ("shown", "clicked"):
            blank = pl.col(column).list.eval(pl.element().fill_null("").str.strip_chars() == "").list.any()
            _refuse(path, rows, column, blank, "holds an empty id")
        return rows
    _refuse(path, rows, "doc_id", pl.col("doc_id").fill_null("").str.strip_chars() == "", "is empty")
    _refuse(path, rows, "position", pl.col("position").fill_null(-1) < 0, "is no position: a number from 0 or 1")
    is_click = pl.col("clicked").fill_null("").str.strip_chars().str.to_lowercase().str.contains(f"^({CLICKED})$")
    _refuse(path, rows, "clicked", ~is_click, "must be true, false or a number of clicks")
    return rows


def _refuse(path: AnyPath, rows: pl.DataFrame, column: str, broken: pl.Expr, why: str) -> None:
    """Raise TableError about the first row for which ``broken`` holds."""
    for row, value in rows.with_row_index("row", offset=1).filter(broken).head(1).select("row", column).iter_rows():
        shown = "" if value is None else f" ({value!r:.80})"
        raise TableError(f"{path}: row {row}: column {column}{shown} {why}; correct it or drop the row")


def _from_searches(rows: pl.DataFrame) -> Log:
    rows = rows.with_columns(search=pl.col("number").cast(pl.String))
    shown = rows.select(
        "search", doc_id="shown", position=pl.int_ranges(1, pl.col("shown").fill_null([]).list.len() + 1)
    )
    listed = shown.explode("doc_id", "position", empty_as_null=True).drop_nulls("doc_id")
    clicks = rows.select("search", doc_id="clicked").explode("doc_id", empty_as_null=True).drop_nulls().unique()
    unshown = clicks.join(listed, on=["search", "doc_id"], how="anti")
    showings = listed.join(
        clicks.with_columns(clicked=pl.lit(True)), on=["search", "doc_id"], how="left", maintain_order="left"
    ).with_columns(pl.col("clicked").fill_null(False))
    return Log(rows.select("search", "query", "time"), once(showings), {"clicks_on_what_was_not_shown": unshown.height})


def _from_impressions(rows: pl.DataFrame) -> Log:
    """Return impressions as searches: those of one ``search``, or of one query at one time where that is not given."""
    first = 0 if (rows["position"] == 0).any() else 1
    clicked = pl.col("clicked").str.strip_chars().str.to_lowercase().str.contains("^(true|0*[1-9][0-9]*)$")
    of = pl.struct("query", pl.col("search").fill_null(pl.col("time").cast(pl.String)))
    rows = rows.with_columns(clicked=clicked, position=pl.col("position") - first + 1, search=of)
    searches = rows.group_by("search", maintain_order=True).agg(pl.col("query").first(), pl.col("time").min())
    numbered = searches.with_columns(number=pl.int_range(pl.len()).cast(pl.String))
    showings = rows.select("search", "doc_id", "position", "clicked").join(
        numbered.select("search", "number"), on="search", how="left", maintain_order="left"
    )
    showings = showings.drop("search").rename({"number": "search"})
    return Log(numbered.drop("search").rename({"number": "search"}), once(showings))


def once(showings: pl.DataFrame) -> pl.DataFrame:
    """Return a document that a search shows twice once, at its best position, clicked if either was."""
    grouped = showings.group_by("search", "doc_id", maintain_order=True)
    return grouped.agg(pl.col("position").min(), pl.col("clicked").any())
