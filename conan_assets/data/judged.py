"""Pairs under judgement: their texts on disk, and in memory a row of numbers for each."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from conan_assets.data.blocks import read_blocks, write_blocks
from conan_assets.data.documents import Documents
from conan_assets.data.rules import REASONS, bit, bits, query_faults
from conan_assets.data.settings import CurationSettings
from conan_assets.data.tables import PAIRS, TableError
from conan_assets.data.text import cleaned, text_key
from conan_assets.data.text_file import TextFile

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
