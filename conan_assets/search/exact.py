"""Exact nearest documents in blocks over queries and documents, in memory that does not grow with the corpus.

Every block of queries is a unit of work of its own: threads take them one by one, and a finished one is on disk
before the next begins, so a killed search goes on where it was.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import threadpoolctl

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
    threads: int | None = None,
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
    threads
        Blocks searched at once; the number of cores by default.

    Raises
    ------
    ValueError
        A vector holds NaN or infinity.
    """
    threads = threads or os.cpu_count() or 1
    search_block = search_block or search_block_on_cpu
    total = queries.shape[0]
    rounds = -(-total // (MAX_QUERIES_PER_BLOCK * threads))
    size = max(1, -(-total // max(1, rounds * threads)))
    progress = Progress("searching queries", total)

    def search(start: int) -> np.ndarray:
        stop = min(start + size, total)
        path = checkpoints / f"queries-{start:09d}-{stop:09d}-{k}.npy" if checkpoints else None
        if path is None or not path.exists():
            block = queries.block(start, stop)
            require_finite(block, "query", start)
            keys = search_block(block, documents, k, excluded.block(start, stop))
            if path:
                with atomic_path(path) as temporary, temporary.open("wb") as file:
                    np.save(file, keys)
        else:
            keys = np.load(path)
        progress.advance(stop - start)
        return keys

    with threadpoolctl.threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        keys = list(pool.map(search, range(0, total, size)))
    return Neighbours.from_keys(np.concatenate(keys) if keys else np.empty((0, k), np.int64))


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
