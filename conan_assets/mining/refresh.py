"""Re-mining among stored candidate pools: only the documents of their union are encoded by the new checkpoint.

Every query is searched in the whole union, not in its own pool alone, since its documents are encoded anyway. What no
pool holds cannot be found: scoring a random sample of the other documents tells how much that is.
"""

import numpy as np
import polars as pl

from conan_assets.mining.collection import Collection
from conan_assets.search.embeddings import BiEncoderRetriever
from conan_assets.search.groups import Groups
from conan_assets.search.ranking import Neighbours

DRIFT_QUERIES = 500


def pooled_documents(collection: Collection, negatives: pl.DataFrame) -> np.ndarray:
    """Return the sorted positions of all corpus documents that a stored negatives table names, int64."""
    corpus = collection.doc_ids[: collection.corpus_size].to_frame("doc_id").with_row_index("position")
    named = corpus.join(negatives.select("doc_id").unique(), on="doc_id", how="semi", maintain_order="left")
    return named["position"].to_numpy().astype(np.int64)


def search_pools(student: BiEncoderRetriever, collection: Collection, pooled: np.ndarray, k: int) -> Neighbours:
    """Return every query's ``k`` best of the documents at the sorted positions ``pooled``, without its positives."""
    positives = collection.positives
    row = np.full(len(collection.texts), -1)
    row[pooled] = np.arange(len(pooled))
    members = row[positives.members]
    inside = members >= 0
    hidden = Groups.from_pairs(positives.rows[inside], members[inside], len(positives))
    found = student.among(pooled).search(collection.query_texts, k, hidden)
    return Neighbours(np.where(found.positions < 0, -1, pooled[found.positions]), found.scores)


def estimate_drift(
    collection: Collection,
    student: BiEncoderRetriever,
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
    asked = collection.queries.gather(queries).to_list()
    scores = student.score(asked, np.repeat(np.arange(len(asked)), len(sample)), np.tile(sample, len(asked)))
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
