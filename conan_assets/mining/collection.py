"""One dataset's queries, documents and judgements as arrays of positions: what search, scoring and rules work on."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from conan_assets.data.tables import DOCUMENT_TEXT
from conan_assets.data.training_files import TEXT_ID
from conan_assets.memory import large_arrays_given_back
from conan_assets.mining.parts import TableWriter
from conan_assets.search.groups import Groups
from conan_assets.search.ranking import Neighbours
from conan_assets.search.retriever import Retriever

QUERIES_PER_PART = 4_096
PAIRS_PER_SLICE = 100_000
PARTS_PER_SEARCH = 8
"""A search reads all documents: it is asked for several parts at once."""


class MiningError(ValueError):
    """The data or the settings do not allow mining; the message says what was found and what to do."""


@dataclass(frozen=True)
class Collection:
    """Queries with at least one positive, and the documents of their dataset.

    Attributes
    ----------
    dataset
        Name of the dataset.
    doc_ids, texts
        All documents: first the corpus, then texts judged outside of it, whose id is "pair:" and that of their pair.
    corpus_size
        Number of documents that can be retrieved; later positions are only ever positives or written negatives.
    judged
        A row of each query, read when it is needed: ``query_id``, ``query`` (text), ``positives`` and ``irrelevant``
        (sorted lists of positions).
    size
        Number of queries.
    first
        Of a part of the queries, how many are before it.
    """

    dataset: str
    doc_ids: pl.Series
    texts: pl.Series
    corpus_size: int
    judged: pl.LazyFrame
    size: int
    first: int = 0

    def __len__(self) -> int:
        return self.size

    @property
    def query_ids(self) -> pl.Series:
        """Ids of the queries."""
        return self._judged["query_id"]

    @property
    def queries(self) -> pl.Series:
        """Texts of the queries."""
        return self._judged["query"]

    @cached_property
    def positives(self) -> Groups:
        """Positions of each query's relevant documents."""
        return Groups.from_lists(self._judged["positives"])

    @cached_property
    def irrelevant(self) -> Groups:
        """Positions of each query's documents judged irrelevant: hand-written, LLM-written and judged negatives."""
        return Groups.from_lists(self._judged["irrelevant"])

    @cached_property
    def _judged(self) -> pl.DataFrame:
        return self.judged.collect()

    def parts(self, size: int | None = None) -> Iterator["Collection"]:
        """Yield collections of the same documents and at most ``size`` (QUERIES_PER_PART) of the queries each."""
        size = size or QUERIES_PER_PART
        for start in range(0, len(self), size):
            stop = min(start + size, len(self))
            yield replace(
                self,
                judged=self.judged.slice(start, stop - start),
                size=stop - start,
                first=self.first + start,
            )

    def search(self, retriever: Retriever, depth: int) -> Iterator[tuple["Collection", Neighbours]]:
        """Yield every part with each query's ``depth`` best documents that are not its positives."""
        for parts in self.parts(PARTS_PER_SEARCH * QUERIES_PER_PART):
            found = retriever.search(parts.queries.to_list(), depth, parts.positives)
            with large_arrays_given_back():
                for part in parts.parts():
                    start = part.first - parts.first
                    yield part, found.part(start, start + len(part))

    def positions_of(self, scored: pl.DataFrame) -> pl.DataFrame:
        """Return ``query`` (text), ``document`` (position), ``score``: rows of a candidates table that are of here."""
        queries = pl.DataFrame({"query_id": self.query_ids, "query": self.queries})
        documents = self.doc_ids.to_frame("doc_id").with_row_index("document")
        rows = scored.join(queries, on="query_id").join(documents, on="doc_id")
        return rows.select("query", "document", "score")

    def ids_frame(self, queries: np.ndarray, documents: np.ndarray) -> pl.DataFrame:
        """Return ``query_id`` and ``doc_id`` of positions."""
        return pl.DataFrame({"query_id": self.query_ids.gather(queries), "doc_id": self.doc_ids.gather(documents)})


def collections(corpus: pl.LazyFrame, pairs: pl.LazyFrame, folder: Path) -> Iterator[Collection]:
    """Yield a collection for every dataset with a judged-relevant retrieval pair, by name.

    Parameters
    ----------
    corpus, pairs
        Tables of ``conan_assets.data.tables``; rows of ``pairs`` of other tasks are ignored.
    folder
        Where the queries lie as long as the collections are in use.

    Raises
    ------
    MiningError
        A pair names a document that the corpus of its dataset does not hold, or there is no positive at all.
    """
    retrieval = pairs.filter(pl.col("task") == "retrieval")
    datasets = retrieval.filter(pl.col("score") > 0).select(pl.col("dataset").unique().sort()).collect().to_series()
    if datasets.is_empty():
        raise MiningError("there is no retrieval pair with a score above 0: nothing to mine for; check the sources")
    for number, dataset in enumerate(datasets):
        here = pl.col("dataset") == dataset
        yield _collection(dataset, corpus.filter(here), retrieval.filter(here), folder / f"queries-{number}.parquet")


def _collection(dataset: str, corpus: pl.LazyFrame, pairs: pl.LazyFrame, file: Path) -> Collection:
    outside = pairs.filter(pl.col("doc_id").is_null()).select(doc_id=TEXT_ID, text="text")
    inside = corpus.select("doc_id", text=DOCUMENT_TEXT).collect()
    documents = pl.concat([inside, outside.unique("doc_id", maintain_order=True).collect()])
    positions = documents.select("doc_id").with_row_index("position")
    size = 0
    with TableWriter(file) as table:
        for rows in _by_query(pairs.select("query_id", "query", doc_id=TEXT_ID, positive=pl.col("score") > 0)):
            placed = rows.join(positions, on="doc_id", how="left", maintain_order="left")
            judged = _judged(placed)
            if judged.select(pl.any_horizontal(pl.col("positives", "irrelevant").list.contains(None)).any()).item():
                raise _unknown_document(dataset, documents, pairs)
            size += judged.height
            for part in judged.iter_slices(QUERIES_PER_PART):
                table.add(part)
    return Collection(dataset, documents["doc_id"], documents["text"], inside.height, pl.scan_parquet(file), size)


def _judged(placed: pl.DataFrame) -> pl.DataFrame:
    """Return ``query_id``, ``query``, ``positives`` and ``irrelevant`` of every query with a positive."""
    documents = pl.col("position").unique().sort()
    by_query = placed.group_by("query_id", "positive", maintain_order=True).agg(pl.col("query").first(), documents)
    relevant = by_query.filter("positive").select("query_id", "query", positives="position")
    others = by_query.filter(~pl.col("positive")).select("query_id", irrelevant="position")
    none = pl.lit([], pl.List(pl.get_index_type()))
    irrelevant = pl.col("irrelevant").fill_null(none).list.set_difference("positives").list.sort()
    return relevant.join(others, on="query_id", how="left", maintain_order="left").with_columns(irrelevant)


def _by_query(pairs: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """Yield the rows of pairs, all of a query's together; where there are many, in the order of the queries' hashes.

    So tables of other pairs, in more or fewer slices, hold the queries in the same order: each of their parts is read
    from one place.
    """
    count = pairs.select(pl.len()).collect().item()
    slices = max(1, round(count / PAIRS_PER_SLICE))
    if slices == 1:
        yield pairs.collect(engine="streaming")
        return
    hashes, width = pl.col("query_id").hash(), -(-(2**64) // slices)
    for number in range(slices):
        rows = pairs.filter(hashes // pl.lit(width, pl.UInt64) == number).collect(engine="streaming")
        yield rows.sort(hashes, maintain_order=True)


def _unknown_document(dataset: str, documents: pl.DataFrame, pairs: pl.LazyFrame) -> MiningError:
    relevant = pairs.filter(pl.col("score") > 0)
    judged = pairs.filter(pl.col("doc_id").is_not_null()).join(relevant, on="query_id", how="semi")
    unknown = judged.join(documents.lazy(), on="doc_id", how="anti", maintain_order="left").select("pair_id", "doc_id")
    pair_id, doc_id = unknown.head(1).collect().row(0)
    return MiningError(
        f"pair {pair_id!r} judges the document {doc_id!r}, which the corpus of {dataset!r} "
        "does not hold: add the document or remove the pair"
    )
