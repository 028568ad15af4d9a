"""Pairs under judgement and the documents they point to: their texts on disk, in memory a row of numbers for each."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from conan_assets.data.blocks import TextFile, read_blocks, write_blocks
from conan_assets.data.curation_settings import CurationSettings
from conan_assets.data.rules import REASONS, bit, bits, document_faults, query_faults
from conan_assets.data.tables import DOCUMENT_TEXT, PAIRS, TableError
from conan_assets.data.text import cleaned, text_key

MEASURES = {"document": pl.UInt32, "document_key": pl.UInt64, "document_faults": pl.UInt32}
NUMBERS: dict[str, pl.DataType | type[pl.DataType]] = {
    "row": pl.UInt32,
    "task": pl.Enum(PAIRS.choices["task"]),
    "dataset": pl.Categorical,
    "query_key": pl.UInt64,
    "query_hash": pl.UInt64,
    "document": pl.UInt32,
    "document_key": pl.UInt64,
    "pair_key": pl.UInt64,
    "id_key": pl.UInt64,
    "reasons": pl.UInt32,
}


class Documents:
    """Numbers, keys and faults of documents by ``doc_id``.

    Parameters
    ----------
    corpus
        CORPUS.
    wanted
        A column ``doc_id``: the documents to know, each once.
    settings
        Limits and patterns.
    folder
        Where the texts go.

    Attributes
    ----------
    passages
        The texts, by document number.
    """

    def __init__(self, corpus: pl.LazyFrame, wanted: pl.DataFrame, settings: CurationSettings, folder: Path) -> None:
        self.passages = TextFile(folder / "passages")
        self._settings = settings
        measured = (
            self._measured(block.join(wanted, on="doc_id", how="semi", maintain_order="left"))
            for block in read_blocks(corpus.select("doc_id", passage=DOCUMENT_TEXT))
        )
        self._known = pl.concat([pl.DataFrame(schema={"doc_id": pl.String, **MEASURES}), *measured])

    def joined_to(self, pairs: pl.DataFrame) -> pl.DataFrame:
        """Return a block of pairs with ``document``, ``document_key`` and ``document_faults``.

        A text outside the corpus is added to the passages; the second sentence of a graded pair is judged like a
        query, and a label not at all.

        Raises
        ------
        TableError
            A pair points to a document that the corpus lacks.
        """
        own = self._measured(pairs.select(passage=pl.col("text").fill_null("")))
        joined = pairs.join(self._known, on="doc_id", how="left", maintain_order="left")
        lost = joined.filter(pl.col("doc_id").is_not_null(), pl.col("document").is_null()).head(1)
        for pair_id, doc_id in lost.select("pair_id", "doc_id").iter_rows():
            raise TableError(
                f"pair {pair_id!r} points to the document {doc_id!r}, which the corpus lacks; load its source"
            )
        whole = joined.with_columns(own.select(pl.all().name.prefix("own_")))
        as_sentence = bits(query_faults(pl.col("text"), self._settings)).fill_null(0)
        faults = pl.when(pl.col("task") == "retrieval").then("document_faults")
        return (
            whole.with_columns(pl.coalesce(name, f"own_{name}").alias(name) for name in MEASURES)
            .with_columns(document_faults=faults.when(pl.col("task") == "sts").then(as_sentence).otherwise(0))
            .select(*pairs.columns, *MEASURES)
        )

    def _measured(self, block: pl.DataFrame) -> pl.DataFrame:
        start = len(self.passages)
        self.passages.append(block["passage"])
        passage = pl.col("passage")
        return block.select(
            pl.exclude("passage"),
            document=pl.int_range(start, start + pl.len(), dtype=pl.UInt32),
            document_key=text_key(passage),
            document_faults=bits(document_faults(passage, self._settings)),
        )


def numbered(pairs: pl.DataFrame, documents: Documents) -> pl.DataFrame:
    """Return a block of pairs, texts cleaned, with keys of its texts and faults of its documents.

    ``query_hash`` is equal for equal queries, ``query_key`` also for those that differ in case, width and white space
    alone; ``pair_key`` is equal for the same two texts in either order.
    """
    block = pairs.with_columns(query=cleaned(pl.col("query")), text=cleaned(pl.col("text")))
    keyed = documents.joined_to(block).with_columns(
        query_key=text_key(pl.col("query")), query_hash=pl.col("query").hash(), id_key=pl.col("pair_id").hash()
    )
    ends = [chosen("query_key", "document_key") for chosen in (pl.min_horizontal, pl.max_horizontal)]
    return keyed.with_columns(pair_key=pl.struct(low=ends[0], high=ends[1]).hash())


class JudgedPairs:
    """Pairs and the reasons found so far to remove them.

    Parameters
    ----------
    pairs
        PAIRS, natural and written ones.
    documents
        The documents that they point to.
    settings
        Limits and patterns.
    folder
        Where the texts go.

    Attributes
    ----------
    queries
        The cleaned queries, by row.
    passages
        The texts of documents, by document number.
    changed
        How many queries normalisation changed.

    Raises
    ------
    TableError
        A pair points to a document that the corpus lacks, or two pairs have the same id.
    """

    def __init__(
        self, pairs: list[pl.LazyFrame], documents: Documents, settings: CurationSettings, folder: Path
    ) -> None:
        self.queries = TextFile(folder / "queries")
        self.passages = documents.passages
        self.changed = 0
        self._path = folder / "pairs.parquet"
        self._numbers: list[pl.DataFrame] = []
        empty = pl.DataFrame(schema=dict(PAIRS.columns))
        write_blocks(self._judge(pairs, documents, settings), self._path, empty)
        self.frame = pl.concat([pl.DataFrame(schema=NUMBERS), *self._numbers])
        del self._numbers
        self._check_ids()

    def _judge(
        self, pairs: list[pl.LazyFrame], documents: Documents, settings: CurationSettings
    ) -> Iterator[pl.DataFrame]:
        """Keep the numbers of each block of pairs and yield its cleaned rows."""
        faults = {
            "judged_irrelevant": (pl.col("task") == "retrieval") & (pl.col("score").fill_null(1.0) <= 0),
            "query_equals_document": (pl.col("task") == "retrieval") & (pl.col("query_key") == pl.col("document_key")),
            **query_faults(pl.col("query"), settings),
        }
        for block in (block for part in pairs for block in read_blocks(part)):
            train = block.filter(pl.col("split") == "train")
            found = numbered(train, documents).with_columns(
                row=pl.int_range(len(self.queries), len(self.queries) + pl.len(), dtype=pl.UInt32),
                reasons=bits(faults) | pl.col("document_faults"),
            )
            self.queries.append(found["query"])
            self.changed += int((found["query"] != train["query"]).sum())
            self._numbers.append(found.select(pl.col(name).cast(dtype) for name, dtype in NUMBERS.items()))
            yield found

    def _check_ids(self) -> None:
        repeated = self.frame.filter(pl.col("id_key").is_first_distinct().not_()).head(1)["row"]
        if len(repeated):
            name = self.rows(repeated, "pair_id")["pair_id"].item()
            raise TableError(f"two train pairs are called {name!r}; give every pair an id of its own")
        self.frame = self.frame.drop("id_key")

    def __len__(self) -> int:
        return self.frame.height

    @property
    def lazy(self) -> pl.LazyFrame:
        """The pairs with cleaned texts, in the schema of PAIRS."""
        return pl.scan_parquet(self._path)

    def left(self, reason: str, *columns: str) -> pl.DataFrame:
        """Return those numbers of the pairs that are not removed for a reason before ``reason``."""
        is_left = (pl.col("reasons") & (bit(reason) - 1)) == 0
        return self.frame.select(pl.col(name).filter(is_left) for name in columns)

    def remove(self, reason: str, rows: pl.Series) -> None:
        """Add ``reason`` to those rows."""
        marks = np.zeros(len(self), np.uint32)
        marks[rows.to_numpy()] = bit(reason)
        self.frame = self.frame.with_columns(reasons=pl.col("reasons") | pl.Series(marks))

    @property
    def reason(self) -> pl.Series:
        """The first reason of each row, null for a pair to keep."""
        found = self.frame["reasons"]
        first = found.to_numpy() & -found.to_numpy().astype(np.int64)
        names = {bit(name): name for name in REASONS}
        return pl.Series("reason", first).replace_strict(names, default=None, return_dtype=pl.Enum(REASONS))

    def rows(self, numbers: pl.Series, *columns: str) -> pl.DataFrame:
        """Return ``row`` and ``columns`` of the pairs of those rows, by row."""
        wanted = self.lazy.select(columns).with_row_index("row").filter(pl.col("row").is_in(numbers.implode()))
        return wanted.collect(engine="streaming").sort("row")
