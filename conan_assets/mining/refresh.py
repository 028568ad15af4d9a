"""Re-mining among stored candidate pools: only the documents of their union are encoded by the new checkpoint.

Every query is searched in the whole union, not in its own pool alone, since its documents are encoded anyway. What no
pool holds cannot be found: scoring a random sample of the other documents tells how much that is.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from conan_assets.mining.collection import Collection
from conan_assets.search.embeddings import BiEncoderRetriever
from conan_assets.search.groups import Groups
from conan_assets.search.ranking import Neighbours
from conan_assets.search.retriever import Effort

DRIFT_QUERIES = 500


def pooled_documents(collection: Collection, negatives: pl.LazyFrame) -> np.ndarray:
    """Return the sorted positions of all corpus documents that a stored negatives table names, int64."""
    corpus = collection.doc_ids[: collection.corpus_size].to_frame("doc_id").with_row_index("position")
    named = corpus.lazy().join(negatives.select("doc_id"), on="doc_id", how="semi").collect(engine="streaming")
    return np.sort(named["position"].to_numpy().astype(np.int64))


class PoolRetriever:
    """The student among the documents at the sorted positions ``pooled`` alone, out of so many ``documents``.

    It remembers the score of each query's K-th best document, K being ``needed``, for :meth:`estimate_drift`.
    """

    def __init__(self, student: BiEncoderRetriever, pooled: np.ndarray, documents: int, needed: int) -> None:
        self._student = student
        self._among = student.among(pooled)
        self._pooled = pooled
        self._row = np.full(documents, -1)
        self._row[pooled] = np.arange(len(pooled))
        self._needed = needed
        self._worst = np.empty(0, np.float32)

    @property
    def effort(self) -> Effort:
        """What the student had to do."""
        return self._student.effort

    def search(self, queries: Sequence[str], k: int, excluded: Groups) -> Neighbours:
        """Return every query's ``k`` best documents of the pool, without its ``excluded`` ones."""
        members = self._row[excluded.members]
        inside = members >= 0
        hidden = Groups.from_pairs(excluded.rows[inside], members[inside], len(excluded))
        found = self._among.search(queries, k, hidden)
        self._worst = np.append(self._worst, found.scores[:, min(self._needed, found.scores.shape[1]) - 1])
        return Neighbours(np.where(found.positions < 0, -1, self._pooled[found.positions]), found.scores)

    def score(self, queries: Sequence[str], rows: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return the student's score of each pair, in the pool or not."""
        return self._student.score(queries, rows, documents)

    def estimate_drift(self, collection: Collection, share: float, generator: np.random.Generator) -> dict[str, float]:
        """Return what the pool misses of a full search, estimated on a random sample of the documents outside of it.

        A document outside that beats a query's K-th best document of the pool belongs among its first K. The sample's
        count over its share of the documents is an unbiased estimate of their number N, and at most N of the K can be
        wrong, so that 1 - N / K is a lower bound of the overlap.

        Parameters
        ----------
        collection
            All queries, which were searched in their order.
        share
            Sampled share of the documents outside the pool; with 0 nothing is estimated.
        """
        outside = np.setdiff1d(np.arange(collection.corpus_size), self._pooled)
        sample = generator.permutation(outside)[: int(np.ceil(share * len(outside)))]
        shares = {"share_of_documents_in_pools": round(len(self._pooled) / collection.corpus_size, 4)}
        if len(outside) and not len(sample):
            return shares
        queries = generator.permutation(len(collection))[:DRIFT_QUERIES]
        asked = collection.judged.select(pl.col("query").gather(queries)).collect()["query"].to_list()
        scores = self.score(asked, np.repeat(np.arange(len(asked)), len(sample)), np.tile(sample, len(asked)))
        better = scores.reshape(len(queries), len(sample)) > self._worst[queries, None]
        missed = float(better.sum(axis=1).mean()) * len(outside) / max(len(sample), 1)
        return {
            **shares,
            "drift_documents_sampled": len(sample),
            "drift_queries_sampled": len(queries),
            "missed_per_query_estimate": round(missed, 3),
            "overlap_with_full_at_least": round(max(0.0, 1 - missed / self._needed), 4),
        }
