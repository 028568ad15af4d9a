"""Re-mining among stored candidate pools: only the documents of their union are encoded by the new checkpoint.

Every query is searched in the whole union, not in its own pool alone, since its documents are encoded anyway. What no
pool holds cannot be found: scoring a random sample of the other documents tells how much that is.
"""

import numpy as np
import polars as pl

from conan_assets.mining.collection import Collection
from conan_assets.mining.ranking import Neighbours
from conan_assets.mining.scorers import Scorer

DRIFT_QUERIES = 500


def pooled_documents(collection: Collection, negatives: pl.DataFrame) -> np.ndarray:
    """Return the sorted positions of all corpus documents that a stored negatives table names, int64."""
    corpus = collection.doc_ids[: collection.corpus_size].to_frame("doc_id").with_row_index("position")
    named = corpus.join(negatives.select("doc_id").unique(), on="doc_id", how="semi", maintain_order="left")
    return named["position"].to_numpy().astype(np.int64)


def estimate_drift(
    collection: Collection,
    student: Scorer,
    found: Neighbours,
    pooled: np.ndarray,
    needed: int,
    share: float,
    generator: np.random.Generator,
) -> dict[str, float]:
    """Return what the pools miss of a full search, estimated on a random sample of the documents outside of them.

    A document outside that beats a query's K-th best document of the pools belongs among its first K. The sample's
    count over its share of the documents is an unbiased estimate of their number N, and at most N of the K can be
    wrong, so that 1 - N / K is a lower bound of the overlap.

    Parameters
    ----------
    found
        The best documents of the pools under the new student.
    pooled
        Positions of the documents of the pools.
    needed
        K, the candidates of a query that matter.
    share
        Sampled share of the documents in no pool; with 0 nothing is estimated.
    """
    outside = np.setdiff1d(np.arange(collection.corpus_size), pooled)
    sample = generator.permutation(outside)[: int(np.ceil(share * len(outside)))]
    shares = {"share_of_documents_in_pools": round(len(pooled) / collection.corpus_size, 4)}
    if len(outside) and not len(sample):
        return shares
    queries = generator.permutation(len(collection.queries))[:DRIFT_QUERIES]
    scores = student.score(np.repeat(queries, len(sample)), np.tile(sample, len(queries)))
    worst = found.scores[queries, min(needed, found.scores.shape[1]) - 1]
    better = scores.reshape(len(queries), len(sample)) > worst[:, None]
    missed = float(better.sum(axis=1).mean()) * len(outside) / max(len(sample), 1)
    return {
        **shares,
        "drift_documents_sampled": len(sample),
        "drift_queries_sampled": len(queries),
        "missed_per_query_estimate": round(missed, 3),
        "overlap_with_full_at_least": round(max(0.0, 1 - missed / needed), 4),
    }
