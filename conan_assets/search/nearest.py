"""Find every query's nearest documents in the way that the settings ask for."""

import sys
from functools import partial
from pathlib import Path

import numpy as np

from conan_assets.search.approximate import approximate_nearest
from conan_assets.search.exact import exact_nearest
from conan_assets.search.groups import Groups
from conan_assets.search.ranking import Neighbours
from conan_assets.search.settings import EXACT, SearchSettings
from conan_assets.search.vectors import ArrayVectors, Matrix

SCREENING_PAYS = 2.5
"""Rounding, and multiplying again what remains, take their time: at products 2 times as fast it is 8 % slower."""


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
    if settings.index != EXACT:
        found = approximate_nearest(settings.index, settings.index_parameters, queries, documents, k, excluded)
        return found, _recall(settings, found, queries, documents, k, excluded)
    search = partial(exact_nearest, queries, documents, k, excluded, checkpoints)
    if settings.device not in ("auto", "cpu"):
        from conan_assets.search.torch_exact import search_block_on

        return search(search_block_on(settings.device), threads=1), None
    if settings.screening == "bfloat16" or (settings.screening == "auto" and _screening_pays(documents.shape[1])):
        from conan_assets.search.screening import one_torch_thread, search_block_with_screening

        with one_torch_thread():
            return search(search_block_with_screening(documents)), None
    return search(), None


def _screening_pays(dim: int) -> bool:
    """Say whether torch is loaded and multiplies enough faster in bfloat16; loading it takes longer than it saves."""
    if "torch" not in sys.modules:
        return False
    from conan_assets.encoding.precision import bfloat16_speedup

    return bfloat16_speedup(dim) >= SCREENING_PAYS


def _recall(
    settings: SearchSettings, found: Neighbours, queries: Matrix, documents: Matrix, k: int, excluded: Groups
) -> float:
    """Return the share of the exact result that was found, on evenly spread queries."""
    sample = np.unique(np.linspace(0, queries.shape[0] - 1, settings.recall_queries).astype(np.int64))
    rows = np.concatenate([queries.block(i, i + 1) for i in sample.tolist()])
    exact = exact_nearest(ArrayVectors(rows), documents, k, excluded.select(sample))
    hits = sum(
        np.isin(best[best >= 0], found.positions[i]).sum() for best, i in zip(exact.positions, sample, strict=True)
    )
    return round(float(hits / max((exact.positions >= 0).sum(), 1)), 4)
