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
    asked
        ``query_id`` and ``query`` (text) of the queries, read when they are needed.
    positives
        Positions of each query's relevant documents.
    irrelevant
        Positions of the documents judged irrelevant: hand-written, LLM-written and judged negatives.
    first
        Of a part of the queries, how many are before it.
    """

    dataset: str
    doc_ids: pl.Series
    texts: pl.Series
    corpus_size: int
    asked: pl.LazyFrame
    positives: Groups
    irrelevant: Groups
    first: int = 0

    def __len__(self) -> int:
        return len(self.positives)

    @property
    def query_ids(self) -> pl.Series:
        """Ids of the queries."""
        return self._asked["query_id"]

    @property
    def queries(self) -> pl.Series:
        """Texts of the queries."""
        return self._asked["query"]

    @cached_property
    def _asked(self) -> pl.DataFrame:
        return self.asked.select("query_id", "query").collect()

    def parts(self, size: int | None = None) -> Iterator["Collection"]:
        """Yield collections of the same documents and at most ``size`` (QUERIES_PER_PART) of the queries each."""
        size = size or QUERIES_PER_PART
        for start in range(0, len(self), size):
            stop = min(start + size, len(self))
            yield replace(
                self,
                asked=self.asked.slice(start, stop - start),
                positives=self.positives.block(start, stop),
                irrelevant=self.irrelevant.block(start, stop),
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
    """Read the pairs some thousand queries at a time, so that no more of them than positions is held at once."""
    outside = pairs.filter(pl.col("doc_id").is_null()).select(doc_id=TEXT_ID, text="text")
    inside = corpus.select("doc_id", text=DOCUMENT_TEXT).collect()
    documents = pl.concat([inside, outside.unique("doc_id", maintain_order=True).collect()])
    positions = documents.select("doc_id").with_row_index("position")
    relevant, irrelevant = [], []
    with TableWriter(file) as queries:
        for judged in _by_query(pairs.select("query_id", "query", doc_id=TEXT_ID, positive=pl.col("score") > 0)):
            asked = judged.filter("positive").select("query_id", "query").unique("query_id", maintain_order=True)
            rows = asked.select("query_id").with_row_index("row")
            placed = judged.join(rows, on="query_id").join(positions, on="doc_id", how="left")
            if placed["position"].null_count():
                raise _unknown_document(dataset, documents, pairs)
            for part in asked.iter_slices(QUERIES_PER_PART):
                queries.add(part)
            positive = placed.filter("positive")
            others = placed.filter(~pl.col("positive")).join(positive, on=["row", "position"], how="anti")
            relevant.append(_groups(positive, asked.height))
            irrelevant.append(_groups(others, asked.height))
    return Collection(
        dataset=dataset,
        doc_ids=documents["doc_id"],
        texts=documents["text"],
        corpus_size=inside.height,
        asked=pl.scan_parquet(file),
        positives=Groups.concatenated(relevant),
        irrelevant=Groups.concatenated(irrelevant),
    )


def _by_query(pairs: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """Yield the rows of pairs, all of a query's together, by a hash of the query where there are many."""
    count = pairs.select(pl.len()).collect().item()
    slices = max(1, round(count / PAIRS_PER_SLICE))
    for number in range(slices):
        here = pl.col("query_id").hash() % slices == number
        yield (pairs.filter(here) if slices > 1 else pairs).collect(engine="streaming")


def _groups(placed: pl.DataFrame, queries: int) -> Groups:
    return Groups.from_pairs(placed["row"].to_numpy(), placed["position"].to_numpy(), queries)


def _unknown_document(dataset: str, documents: pl.DataFrame, pairs: pl.LazyFrame) -> MiningError:
    relevant = pairs.filter(pl.col("score") > 0)
    judged = pairs.filter(pl.col("doc_id").is_not_null()).join(relevant, on="query_id", how="semi")
    unknown = judged.join(documents.lazy(), on="doc_id", how="anti", maintain_order="left").select("pair_id", "doc_id")
    pair_id, doc_id = unknown.head(1).collect().row(0)
    return MiningError(
        f"pair {pair_id!r} judges the document {doc_id!r}, which the corpus of {dataset!r} "
        "does not hold: add the document or remove the pair"
    )
