"""Exact nearest documents in blocks over queries and documents, in memory that does not grow with the corpus.

Every block of queries is a unit of work of its own: threads take them one by one, and a finished one is on disk
before the next begins, so a killed search goes on where it was.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import threadpoolctl

from conan_assets.compute import Compute
from conan_assets.files import atomic_path
from conan_assets.progress import Progress
from conan_assets.search.groups import Groups
from conan_assets.search.ranking import BestOf, Neighbours
from conan_assets.search.vectors import Matrix, finite_blocks_of, require_finite

SearchBlock = Callable[[np.ndarray, Matrix, int, Groups], np.ndarray]

MAX_QUERIES_PER_BLOCK = 2_048
DOCUMENTS_PER_BLOCK = 256


def exact_nearest(
    queries: Matrix,
    documents: Matrix,
    k: int,
    excluded: Groups,
    checkpoints: Path | None = None,
    search_block: SearchBlock | None = None,
    compute: Compute | None = None,
) -> Neighbours:
    """Return every query's ``k`` documents of highest dot product, without its ``excluded`` ones.

    Parameters
    ----------
    queries, documents
        Of shape (queries, dim) and (documents, dim).
    excluded
        Positions of documents that are never returned, per query.
    checkpoints
        Directory for finished blocks, of this search alone; one that is there already is not computed again.
    search_block
        Searches all documents for one block of queries; by default with NumPy.
    compute
        Who searches the blocks; a thread for each core by default.

    Raises
    ------
    ValueError
        A vector holds NaN or infinity.
    """
    threads = 1 if compute else os.cpu_count() or 1
    total = queries.shape[0]
    rounds = -(-total // (MAX_QUERIES_PER_BLOCK * threads))
    size = max(1, -(-total // max(1, rounds * threads)))
    search = SearchShard(queries, documents, k, excluded, checkpoints, search_block or search_block_on_cpu)
    shards = [range(start, min(start + size, total)) for start in range(0, total, size)]
    progress, keys = Progress("searching queries", total), []
    with threadpoolctl.threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        for shard, found in zip(shards, (compute or pool).map(search, shards), strict=True):
            keys.append(found)
            progress.advance(len(shard))
    return Neighbours.from_keys(np.concatenate(keys) if keys else np.empty((0, k), np.int64))


@dataclass(frozen=True)
class SearchShard:
    """The keys of the best documents of a range of queries; what was found is kept in ``checkpoints``, if given."""

    queries: Matrix
    documents: Matrix
    k: int
    excluded: Groups
    checkpoints: Path | None
    search_block: SearchBlock

    def __call__(self, shard: range) -> np.ndarray:
        """Return int64 of shape (len(shard), k)."""
        start, stop = shard.start, shard.stop
        path = self.checkpoints / f"queries-{start:09d}-{stop:09d}-{self.k}.npy" if self.checkpoints else None
        if path is not None and path.exists():
            kept: np.ndarray = np.load(path)
            return kept
        block = self.queries.block(start, stop)
        require_finite(block, "query", start)
        keys = self.search_block(block, self.documents, self.k, self.excluded.block(start, stop))
        if path is not None:
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                np.save(file, keys)
        return keys


def search_block_on_cpu(queries: np.ndarray, documents: Matrix, k: int, excluded: Groups) -> np.ndarray:
    """Return the keys of the best ``k`` documents of each query, int64 of shape (queries, k), in NumPy."""
    best = BestOf(len(queries), min(k, documents.shape[0]))
    hidden, rows = excluded.by_member()
    scores = np.empty((len(queries), DOCUMENTS_PER_BLOCK), np.float32)
    for start, block in finite_blocks_of(documents, DOCUMENTS_PER_BLOCK, "document"):
        if len(block) < scores.shape[1]:
            scores = np.empty((len(queries), len(block)), np.float32)
        np.matmul(queries, block.T, out=scores)
        here = slice(*np.searchsorted(hidden, [start, start + len(block)]))
        scores[rows[here], hidden[here] - start] = -np.inf
        best.add(scores, start)
    return best.keys()
