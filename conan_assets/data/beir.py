"""The three tables of BEIR layout, checked against one another and turned into a corpus and pairs."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from conan_assets.artifacts import fingerprint
from conan_assets.data.digests import Digest
from conan_assets.data.files import AnyPath, find_table, fingerprint_content, open_folder, tell_unread
from conan_assets.data.readers import read_table
from conan_assets.data.settings import BeirSource
from conan_assets.data.tables import CORPUS, PAIRS, Table, TableError, check_table

SPLITS = ("train", "dev", "test")
TEXT_SUFFIXES = (".parquet", ".jsonl")
JUDGEMENT_SUFFIXES = (".parquet", ".tsv")

BEIR_CORPUS = Table(
    name="corpus",
    columns={"_id": pl.String, "title": pl.String, "text": pl.String},
    required=("_id", "text"),
    key=("_id",),
)
BEIR_QUERIES = Table(
    name="queries",
    columns={"_id": pl.String, "text": pl.String},
    required=("_id", "text"),
    key=("_id",),
)
BEIR_JUDGEMENTS = Table(
    name="judgements",
    columns={"query-id": pl.String, "corpus-id": pl.String, "score": pl.Float32},
    required=("query-id", "corpus-id", "score"),
    key=("query-id", "corpus-id"),
)


@dataclass(frozen=True)
class BeirTable:
    """One table as it was taken in, and the file or hub path it came from."""

    rows: pl.DataFrame
    origin: str


def table_of(name: str) -> Table:
    """Return the schema of the file or split ``name``: corpus, queries, or the judgements of a split."""
    return {"corpus": BEIR_CORPUS, "queries": BEIR_QUERIES}.get(name, BEIR_JUDGEMENTS)


def read_beir_folder(name: str, settings: BeirSource) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return (corpus, pairs) of a folder in BEIR layout; raise TableError naming file, column, row or id."""
    tables = {
        table: BeirTable(read_table(path, table_of(table), max_text_bytes=settings.max_text_bytes), str(path))
        for table, path in beir_files(name, settings).items()
    }
    tell_unread(open_folder(name, settings.path) / "qrels", SPLITS)
    return assemble(name, tables.pop("corpus"), tables.pop("queries"), tables)


def fingerprint_beir_folder(name: str, settings: BeirSource, digest: Digest) -> str:
    """Return a fingerprint of the content of the files that :func:`read_beir_folder` reads."""
    files = beir_files(name, settings)
    return fingerprint({table: fingerprint_content(path, digest) for table, path in files.items()})


def beir_files(name: str, settings: BeirSource) -> dict[str, AnyPath]:
    """Return the files of a folder: ``corpus``, ``queries`` and each split that is judged; raise TableError if none."""
    folder = open_folder(name, settings.path)
    files = {table: text_file(name, folder, table) for table in ("corpus", "queries")}
    for split in SPLITS if settings.train else SPLITS[1:]:
        path = find_table(folder / "qrels", split, JUDGEMENT_SUFFIXES)
        if path is not None:
            files[split] = path
    return files


def text_file(name: str, folder: AnyPath, table: str) -> AnyPath:
    """Return the file ``corpus`` or ``queries`` of a folder; raise TableError if there is none."""
    path = find_table(folder, table, TEXT_SUFFIXES)
    if path is None:
        raise TableError(f"source {name}: {folder} holds neither {table}.parquet nor {table}.jsonl; add one")
    return path


def assemble(
    name: str, corpus: BeirTable, queries: BeirTable, judgements: Mapping[str, BeirTable]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return (corpus, pairs) with ids ``<name>:<id>`` from tables in BEIR layout, after checking all of them.

    A document without text is its title. Queries that no split judges are left out.

    Raises
    ------
    TableError
        A column is missing or mis-typed, an id occurs twice, a text is empty, or a judgement points to an id that is
        not there; the message names the origin of the table, the column, and the row or id.
    """
    documents = _documents(corpus)
    asked = check_table(queries.rows, BEIR_QUERIES, queries.origin).select("_id", query="text")
    pairs = [
        _pairs_of_split(name, split, table, asked, documents, queries.origin, corpus.origin)
        for split, table in judgements.items()
    ]
    if not pairs:
        raise TableError(
            f"source {name}: no judgements beside {corpus.origin}; add qrels/train, qrels/dev or qrels/test"
        )
    return corpus_of(name, corpus), check_table(pl.concat(pairs), PAIRS, f"source {name}")


def corpus_of(name: str, table: BeirTable) -> pl.DataFrame:
    """Return CORPUS with ids ``<name>:<id>``; raise TableError as :func:`assemble` does."""
    corpus = _documents(table).select(
        doc_id=_global_id(name, "_id"), dataset=pl.lit(name), title=pl.col("title").fill_null(""), text="text"
    )
    return check_table(corpus, CORPUS, table.origin)


def _documents(table: BeirTable) -> pl.DataFrame:
    """Return the checked documents; one that has a title alone has it as its text."""
    title_alone = pl.col("text").fill_null("").str.strip_chars() == ""
    documents = table.rows.with_columns(
        title=pl.when(title_alone).then(pl.lit("")).otherwise(pl.col("title")),
        text=pl.when(title_alone).then(pl.col("title")).otherwise(pl.col("text")),
    )
    return check_table(documents, BEIR_CORPUS, table.origin)


def _pairs_of_split(
    name: str,
    split: str,
    table: BeirTable,
    queries: pl.DataFrame,
    corpus: pl.DataFrame,
    queries_origin: str,
    corpus_origin: str,
) -> pl.DataFrame:
    judged = check_table(table.rows, BEIR_JUDGEMENTS, table.origin)
    _check_known(judged, "query-id", queries, table.origin, queries_origin)
    _check_known(judged, "corpus-id", corpus, table.origin, corpus_origin)
    return judged.join(queries, left_on="query-id", right_on="_id", how="left", maintain_order="left").select(
        pair_id=pl.concat_str(pl.lit(f"{name}:{split}:"), "query-id", pl.lit(":"), "corpus-id"),
        task=pl.lit("retrieval"),
        dataset=pl.lit(name),
        origin=pl.lit("natural"),
        split=pl.lit(split),
        query_id=_global_id(name, "query-id"),
        query="query",
        doc_id=_global_id(name, "corpus-id"),
        text=pl.lit(None, dtype=pl.String),
        score="score",
    )


def _global_id(name: str, column: str) -> pl.Expr:
    return pl.concat_str(pl.lit(f"{name}:"), column)


def _check_known(judged: pl.DataFrame, column: str, known: pl.DataFrame, origin: str, known_origin: str) -> None:
    unknown = judged.with_row_index("row", offset=1).join(known, left_on=column, right_on="_id", how="anti")
    if unknown.height:
        row, identifier = unknown.sort("row").select("row", column).row(0)
        raise TableError(
            f"{origin}: row {row}: {column} {identifier!r} is not in {known_origin} "
            f"({unknown.height:,} such judgements); add it there or drop the judgement"
        )


def cap_train_queries(pairs: pl.DataFrame, limit: int) -> pl.DataFrame:
    """Keep ``limit`` of the train queries, chosen by the SHA-256 of their ids, and every other split."""
    queries = pairs.filter(pl.col("split") == "train")["query_id"].unique().to_list()
    chosen = sorted(queries, key=lambda query: hashlib.sha256(query.encode()).digest())[:limit]
    return pairs.filter((pl.col("split") != "train") | pl.col("query_id").is_in(chosen))
