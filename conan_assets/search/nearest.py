"""Find every query's nearest documents in the way that the settings ask for."""

import sys
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from conan_assets.compute import IN_PROCESS, Compute, Kept
from conan_assets.memory import large_arrays_given_back
from conan_assets.progress import logger
from conan_assets.search.approximate import ApproximateIndex
from conan_assets.search.exact import SearchBlock, exact_nearest
from conan_assets.search.groups import Groups
from conan_assets.search.kept import DocumentShards, KeepShard, Question, search_kept
from conan_assets.search.ranking import Neighbours
from conan_assets.search.settings import EXACT, SearchSettings
from conan_assets.search.vectors import ArrayVectors, Matrix

SCREENING_SAVES, SCREENED_ANYWAY = 0.59, 40_000
"""Of a float32 product, what screening saves besides the product itself: comparing is quicker, rounding takes time. And
the documents that could be multiplied in the time in which a query's 100 best are multiplied again. By measurement, 384
components: products 4 times as fast pay beyond some 100,000 documents, 2 times as fast ones beyond 400,000."""


class Nearest:
    """Finds the nearest of some documents in the way that the settings ask for; what can be prepared is, once.

    Parameters
    ----------
    compute
        Who may keep the documents, and search those that it keeps.
    encoder_device
        Where this process searches if the settings leave it to the encoder.
    """

    def __init__(
        self,
        settings: SearchSettings,
        documents: Matrix,
        compute: Compute = IN_PROCESS,
        encoder_device: str = "cpu",
    ) -> None:
        self._settings = settings
        self._documents = documents
        self._compute = compute
        self._device = encoder_device if settings.device == "auto" else settings.device
        self._is_on_gpu = self._device != "cpu"
        self._is_exact = settings.index == EXACT or documents.shape[0] <= settings.index_above

    @large_arrays_given_back()
    def find(
        self, queries: Matrix, k: int, excluded: Groups, checkpoints: Path | None = None
    ) -> tuple[Neighbours, float | None]:
        """Return every query's ``k`` nearest documents and, of an approximate search, its recall on some queries.

        Parameters
        ----------
        excluded
            Positions of documents that are never returned, per query.
        checkpoints
            Directory for the finished blocks of an exact search.
        """
        if self._is_exact:
            return self._exact(queries, k, excluded, checkpoints), None
        if self._kept:
            block = search_kept(self._kept, is_exact=False)
            found = exact_nearest(queries, self._documents, k, excluded, search_block=block)
        else:
            found = self._index.nearest(queries, k, excluded)
        return found, self._recall(found, queries, k, excluded)

    def _exact(self, queries: Matrix, k: int, excluded: Groups, checkpoints: Path | None = None) -> Neighbours:
        threads = 1 if self._is_on_gpu else None
        block = search_kept(self._kept, is_exact=True) if self._kept else self._search_block
        search = partial(exact_nearest, queries, self._documents, k, excluded, checkpoints, block, threads)
        if self._kept or not self._screens:
            return search()
        from conan_assets.search.screening import one_torch_thread

        with one_torch_thread():
            return search()

    @cached_property
    def _kept(self) -> Kept[Question, np.ndarray] | None:
        """The documents where others keep them; what one shard has room for is searched here."""
        shards = DocumentShards(self._documents)
        if len(shards) <= 1:
            return None
        index = EXACT if self._is_exact else self._settings.index
        screens = self._is_exact and self._screens
        return self._compute.keep(
            KeepShard(index, self._settings.index_parameters, self._settings.device, screens), shards
        )

    @cached_property
    def _index(self) -> ApproximateIndex:
        return ApproximateIndex(self._settings.index, self._settings.index_parameters, self._documents)

    @cached_property
    def _screens(self) -> bool:
        asked = self._settings.screening
        if self._is_on_gpu:
            return False
        return asked == "bfloat16" or (asked == "auto" and _screening_pays(*self._documents.shape))

    @cached_property
    def _search_block(self) -> SearchBlock | None:
        if self._is_on_gpu:
            from conan_assets.search.torch_exact import search_block_on

            return search_block_on(self._device, self._documents)
        if self._screens:
            from conan_assets.search.screening import search_block_with_screening

            return search_block_with_screening(self._documents)
        return None

    def _recall(self, found: Neighbours, queries: Matrix, k: int, excluded: Groups) -> float:
        """Return the share of the exact result that was found, on evenly spread queries."""
        sample = np.unique(np.linspace(0, queries.shape[0] - 1, self._settings.recall_queries).astype(np.int64))
        rows = np.concatenate([queries.block(i, i + 1) for i in sample.tolist()])
        block = search_kept(self._kept, is_exact=True) if self._kept else None
        exact = exact_nearest(ArrayVectors(rows), self._documents, k, excluded.select(sample), search_block=block)
        hits = sum(
            np.isin(best[best >= 0], found.positions[i]).sum() for best, i in zip(exact.positions, sample, strict=True)
        )
        recall = round(float(hits / max((exact.positions >= 0).sum(), 1)), 4)
        if recall < self._settings.min_recall:
            logger.warning(
                "search.index %r found %s of the exact result, below min_recall, %s: raise its nprobe or efSearch",
                *(self._settings.index, recall, self._settings.min_recall),
            )
        return recall


def _screening_pays(documents: int, dim: int) -> bool:
    """Say whether torch is loaded and multiplies enough faster in bfloat16; loading it takes longer than it saves."""
    if "torch" not in sys.modules:
        return False
    from conan_assets.encoding.precision import bfloat16_speedup

    speedup = bfloat16_speedup(dim)
    return speedup > 0 and documents * (SCREENING_SAVES - 1 / speedup) >= SCREENED_ANYWAY
