"""The documents that pairs point to: keys and faults in memory, their texts on disk."""

from pathlib import Path

import polars as pl

from conan_assets.data.blocks import read_blocks
from conan_assets.data.rules import bits, document_faults, query_faults
from conan_assets.data.settings import CurationSettings
from conan_assets.data.tables import DOCUMENT_TEXT, TableError
from conan_assets.data.text import text_key
from conan_assets.data.text_file import TextFile

MEASURES = {"document": pl.UInt32, "document_key": pl.UInt64, "document_faults": pl.UInt32}


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
