"""Find every query's nearest documents in the way that the settings ask for."""

from pathlib import Path

import numpy as np

from conan_assets.mining.approximate import approximate_nearest
from conan_assets.mining.exact import Matrix, nearest
from conan_assets.mining.groups import Groups
from conan_assets.mining.ranking import Neighbours
from conan_assets.mining.settings import SearchSettings
from conan_assets.mining.vectors import ArrayVectors

EXACT = "exact"


def find_nearest(
    settings: SearchSettings, queries: Matrix, documents: Matrix, k: int, excluded: Groups, checkpoints: Path | None
) -> tuple[Neighbours, float | None]:
    """Return every query's ``k`` nearest documents and, of an approximate search, its recall on a sample of queries.

    Parameters
    ----------
    excluded
        Positions of documents that are never returned, per query.
    checkpoints
        Directory for the finished blocks of an exact search.
    """
    if settings.index == EXACT:
        if settings.device in ("auto", "cpu"):
            return nearest(queries, documents, k, excluded, checkpoints), None
        from conan_assets.mining.torch_exact import search_block_on

        return nearest(queries, documents, k, excluded, checkpoints, search_block_on(settings.device), threads=1), None
    found = approximate_nearest(settings.index, settings.index_parameters, queries, documents, k, excluded)
    return found, _recall(settings, found, queries, documents, k, excluded)


def _recall(
    settings: SearchSettings, found: Neighbours, queries: Matrix, documents: Matrix, k: int, excluded: Groups
) -> float:
    """Return the share of the exact result that was found, on evenly spread queries."""
    sample = np.unique(np.linspace(0, queries.shape[0] - 1, settings.recall_queries).astype(np.int64))
    rows = np.concatenate([queries.block(i, i + 1) for i in sample.tolist()])
    members = [excluded[i] for i in sample.tolist()]
    hidden = Groups.from_pairs(
        np.repeat(np.arange(len(sample)), [len(m) for m in members]), np.concatenate(members), len(sample)
    )
    exact = nearest(ArrayVectors(rows), documents, k, hidden)
    hits = sum(
        np.isin(best[best >= 0], found.positions[i]).sum() for best, i in zip(exact.positions, sample, strict=True)
    )
    return round(float(hits / max((exact.positions >= 0).sum(), 1)), 4)
