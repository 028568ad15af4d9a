"""One dataset's queries, documents and judgements as arrays of positions: what search, scoring and rules work on."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from conan_assets.data.tables import DOCUMENT_TEXT
from conan_assets.data.training_files import TEXT_ID
from conan_assets.search.groups import Groups


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
    query_ids, queries
        Ids and texts of the queries.
    positives
        Positions of each query's relevant documents.
    irrelevant
        Positions of the documents judged irrelevant: hand-written, LLM-written and judged negatives.
    """

    dataset: str
    doc_ids: pl.Series
    texts: pl.Series
    corpus_size: int
    query_ids: pl.Series
    queries: pl.Series
    positives: Groups
    irrelevant: Groups

    @cached_property
    def query_texts(self) -> list[str]:
        """Texts of the queries, as retrievers take them."""
        return self.queries.to_list()

    def positions_of(self, scored: pl.LazyFrame) -> pl.DataFrame:
        """Return ``query`` (text), ``document`` (position), ``score``: rows of a candidates table that are of here."""
        queries = pl.LazyFrame({"query_id": self.query_ids, "query": self.queries})
        documents = self.doc_ids.to_frame("doc_id").with_row_index("document").lazy()
        rows = scored.join(queries, on="query_id").join(documents, on="doc_id")
        return rows.select("query", "document", "score").collect()

    def ids_frame(self, queries: np.ndarray, documents: np.ndarray) -> pl.DataFrame:
        """Return ``query_id`` and ``doc_id`` of positions."""
        return pl.DataFrame({"query_id": self.query_ids.gather(queries), "doc_id": self.doc_ids.gather(documents)})


def collections(corpus: pl.DataFrame, pairs: pl.DataFrame) -> Iterator[Collection]:
    """Yield a collection for every dataset with a judged-relevant retrieval pair, by name.

    Parameters
    ----------
    corpus, pairs
        Tables of ``conan_assets.data.tables``; rows of ``pairs`` of other tasks are ignored.

    Raises
    ------
    MiningError
        A pair names a document that the corpus of its dataset does not hold, or there is no positive at all.
    """
    retrieval = pairs.filter(pl.col("task") == "retrieval")
    datasets = retrieval.filter(pl.col("score") > 0)["dataset"].unique().sort()
    if datasets.is_empty():
        raise MiningError("there is no retrieval pair with a score above 0: nothing to mine for; check the sources")
    for dataset in datasets:
        here = pl.col("dataset") == dataset
        yield _collection(dataset, corpus.filter(here), retrieval.filter(here))


def _collection(dataset: str, corpus: pl.DataFrame, pairs: pl.DataFrame) -> Collection:
    positive = pl.col("score") > 0
    pairs = pairs.with_columns(inside=pl.col("doc_id").is_not_null(), doc_id=TEXT_ID)
    outside = pairs.filter(~pl.col("inside")).select("doc_id", "text").unique("doc_id", maintain_order=True)
    documents = pl.concat([corpus.select("doc_id", text=DOCUMENT_TEXT), outside])
    queries = pairs.filter(positive).unique("query_id", maintain_order=True).select("query_id", "query")
    judged = (
        pairs.join(queries.with_row_index("row").select("query_id", "row"), on="query_id")
        .join(documents.with_row_index("position").select("doc_id", "position"), on="doc_id", how="left")
        .with_columns(positive=positive)
    )
    _require_documents(judged, dataset)
    relevant, irrelevant = judged.filter("positive"), judged.filter(~pl.col("positive"))
    irrelevant = irrelevant.join(relevant.select("row", "position"), on=["row", "position"], how="anti")

    def groups(frame: pl.DataFrame) -> Groups:
        return Groups.from_pairs(frame["row"].to_numpy(), frame["position"].to_numpy(), queries.height)

    return Collection(
        dataset=dataset,
        doc_ids=documents["doc_id"],
        texts=documents["text"],
        corpus_size=corpus.height,
        query_ids=queries["query_id"],
        queries=queries["query"],
        positives=groups(relevant),
        irrelevant=groups(irrelevant),
    )


def _require_documents(judged: pl.DataFrame, dataset: str) -> None:
    unknown = judged.filter(pl.col("position").is_null()).head(1)
    if unknown.height:
        pair = unknown.row(0, named=True)
        raise MiningError(
            f"pair {pair['pair_id']!r} judges the document {pair['doc_id']!r}, which the corpus of {dataset!r} "
            "does not hold: add the document or remove the pair"
        )
