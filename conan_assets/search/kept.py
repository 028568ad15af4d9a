"""Search over documents that lie in shards with whoever computes: each ranks its own, the best of all are merged.

A shard begins where a block of the search in one process does, so that the same products are computed, and every
holder's best k come as keys that sort like (score, position): what is merged is what one process finds, to the byte.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from conan_assets.compute import Kept
from conan_assets.search.approximate import ApproximateIndex
from conan_assets.search.exact import SearchBlock, search_block_on_cpu
from conan_assets.search.groups import Groups
from conan_assets.search.ranking import EMPTY
from conan_assets.search.settings import EXACT
from conan_assets.search.vectors import ArrayVectors, Matrix, require_finite

DOCUMENTS_PER_SHARD = 65_536
"""A multiple of the documents that every kind of exact search takes at once. The last shard has half to one and a half
of them, so that no index has fewer documents than lists."""

Shard = tuple[int, np.ndarray]


@dataclass(frozen=True)
class Question:
    """A block of queries, float32 of shape (queries, dim), that all shards are asked."""

    queries: np.ndarray
    k: int
    excluded: Groups
    is_exact: bool


class DocumentShards(Sequence[Shard]):
    """Documents as pairs of a first position and the rows from there, read when they are asked for.

    Raises
    ------
    ValueError
        A vector holds NaN or infinity; it is named by its position among all.
    """

    def __init__(self, documents: Matrix) -> None:
        self._documents = documents

    def __len__(self) -> int:
        count = self._documents.shape[0]
        return max(min(count, 1), (count + DOCUMENTS_PER_SHARD // 2) // DOCUMENTS_PER_SHARD)

    def __getitem__(self, number: int) -> Shard:  # type: ignore[override]
        start = number * DOCUMENTS_PER_SHARD
        end = self._documents.shape[0] if number == len(self) - 1 else start + DOCUMENTS_PER_SHARD
        rows = self._documents.block(start, end)
        require_finite(rows, "document", start)
        half = rows.astype(np.float16)
        return start, half if np.array_equal(half, rows) else rows


@dataclass(frozen=True)
class KeepShard:
    """Makes a shard what answers questions about it.

    Attributes
    ----------
    index, parameters
        Of an approximate search, or "exact".
    device
        "cpu", "cuda", or "auto" for a GPU where the process that holds the shard has one.
    screens
        Whether an exact search on a CPU screens in bfloat16.
    """

    index: str
    parameters: str
    device: str
    screens: bool

    def __call__(self, shard: Shard) -> Callable[[Question], np.ndarray]:
        """Return a function of a question: the keys of the shard's best documents, (queries, at most k)."""
        first, rows = shard
        documents = ArrayVectors(rows.copy())
        built = None if self.index == EXACT else ApproximateIndex(self.index, self.parameters, documents)
        return partial(_answer, first, documents, self._search_block(documents), built)

    def _search_block(self, documents: ArrayVectors) -> SearchBlock:
        device = _own_device() if self.device == "auto" else self.device
        if device != "cpu":
            from conan_assets.search.torch_exact import search_block_on

            return search_block_on(device, documents)
        if self.screens:
            from conan_assets.search.screening import search_block_with_screening

            return search_block_with_screening(documents)
        return search_block_on_cpu


def search_kept(kept: Kept[Question, np.ndarray], is_exact: bool) -> SearchBlock:
    """Return a function for ``exact_nearest`` that asks the shards."""

    def search_block(queries: np.ndarray, documents: Matrix, k: int, excluded: Groups) -> np.ndarray:
        k = min(k, documents.shape[0])
        return kept.ask(Question(queries, k, excluded, is_exact), partial(best_of_both, k=k))

    return search_block


def best_of_both(left: np.ndarray, right: np.ndarray, k: int) -> np.ndarray:
    """Return the best ``k`` keys of each row of two arrays of keys, or all where there are fewer."""
    both = np.concatenate([left, right], axis=1)
    return both if both.shape[1] <= k else np.partition(both, both.shape[1] - k, axis=1)[:, -k:]


def _answer(
    first: int, documents: ArrayVectors, search: SearchBlock, built: ApproximateIndex | None, asked: Question
) -> np.ndarray:
    hidden = Groups(asked.excluded.offsets, asked.excluded.members - first)
    if built is not None and not asked.is_exact:
        keys = built.keys(ArrayVectors(asked.queries), asked.k, hidden)
    else:
        keys = search(asked.queries, documents, asked.k, hidden)
    return np.where(keys == EMPTY, EMPTY, keys - first)


def _own_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
