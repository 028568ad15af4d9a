"""Re-mining from stored candidate pools: only their documents are encoded by the new checkpoint.

What the pools do not hold cannot be found. Scoring a random sample of the other documents tells how much that is.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from conan_assets.mining.collection import Collection
from conan_assets.mining.ranking import EMPTY, Neighbours, pack
from conan_assets.mining.scorers import Scorer

DRIFT_QUERIES = 500


@dataclass(frozen=True)
class Pools:
    """Every query's stored candidates, as positions.

    Attributes
    ----------
    queries, documents
        int64 of shape (candidates,).
    """

    queries: np.ndarray
    documents: np.ndarray

    @classmethod
    def of(cls, collection: Collection, negatives: pl.DataFrame) -> "Pools":
        """Return the candidates of a stored negatives table that are still documents and no positives."""
        queries = collection.query_ids.to_frame("query_id").with_row_index("query")
        corpus = collection.doc_ids[: collection.corpus_size].to_frame("doc_id").with_row_index("document")
        rows = negatives.join(queries, on="query_id").join(corpus, on="doc_id").sort("query", "document")
        found, documents = rows["query"].to_numpy().astype(np.int64), rows["document"].to_numpy().astype(np.int64)
        size, positives = len(collection.doc_ids), collection.positives
        free = ~np.isin(found * size + documents, positives.rows * size + positives.members)
        return cls(found[free], documents[free])

    def search(self, collection: Collection, student: Scorer, k: int) -> Neighbours:
        """Return each query's ``k`` best stored candidates under the student."""
        counts = np.bincount(self.queries, minlength=len(collection.queries))
        keys = np.full((len(counts), max(k, int(counts.max(initial=0)))), EMPTY, np.int64)
        places = np.arange(len(self.queries)) - np.repeat(np.cumsum(counts) - counts, counts)
        keys[self.queries, places] = pack(student.score(self.queries, self.documents), self.documents)
        found = Neighbours.from_keys(keys)
        return Neighbours(found.positions[:, :k], found.scores[:, :k])


def estimate_drift(
    collection: Collection,
    student: Scorer,
    found: Neighbours,
    pools: Pools,
    needed: int,
    share: float,
    generator: np.random.Generator,
) -> dict[str, float]:
    """Return what the pools miss of a full search, estimated on a random sample of the documents outside of them.

    A document outside that beats a query's ``needed``-th best stored candidate would have been among its first
    ``needed``. The sample's count over its share of the documents is an unbiased estimate of how many there are.

    Parameters
    ----------
    found
        The stored candidates under the new student, best first.
    pools
        All stored candidates.
    needed
        K, the candidates of a query that matter.
    share
        Sampled share of the documents in no pool.
    """
    outside = np.setdiff1d(np.arange(collection.corpus_size), pools.documents)
    sample = generator.permutation(outside)[: int(np.ceil(share * len(outside)))]
    queries = generator.permutation(len(collection.queries))[:DRIFT_QUERIES]
    pairs = np.repeat(queries, len(sample)), np.tile(sample, len(queries))
    scores = student.score(*pairs).reshape(len(queries), len(sample))
    worst = found.scores[queries, min(needed, found.scores.shape[1]) - 1]
    missed = (scores > worst[:, None]).sum(axis=1) * (len(outside) / max(len(sample), 1))
    return {
        "share_of_documents_in_pools": round(1 - len(outside) / collection.corpus_size, 4),
        "drift_documents_sampled": len(sample),
        "drift_queries_sampled": len(queries),
        "missed_per_query_estimate": round(float(missed.mean()) if len(missed) else 0.0, 3),
        "overlap_with_full_estimate": round(
            float(np.clip(1 - missed / needed, 0, 1).mean()) if len(missed) else 1.0, 4
        ),
    }
