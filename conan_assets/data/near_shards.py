"""What is computed of texts to find near-equal ones, a shard at a time: their signatures, the similarity of pairs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import polars as pl

from conan_assets.data.blocks import blocks_by_size
from conan_assets.data.curation_settings import NearDuplicateSettings
from conan_assets.data.shingles import Shingles, Terms, words

ROWS_PER_BAND = 4
"""Four hashes a band: at 128 hashes a pair of Jaccard similarity 0.7 shares a band with probability 0.9998."""

BLOCK_BYTES = 1 << 19
"""Of texts whose n-grams are in memory at a time."""

_MIXER = np.uint64(0x9E3779B97F4A7C15)

Part = TypeVar("Part")
Result = TypeVar("Result")


class OtherHashesError(RuntimeError):
    """A process gives texts other hashes than the one that asks it."""


@dataclass(frozen=True)
class TextShard:
    """Texts that are sent to whoever computes, and uint64 for each of them, or None: see ``ComparedTexts.salts``."""

    texts: pl.Series
    salts: np.ndarray | None = None

    def shingles(self, rows: np.ndarray, terms: Terms, size: int) -> Shingles:
        """Return the n-grams of the texts at ``rows``."""
        salts = None if self.salts is None else self.salts[rows]
        return Shingles.of(terms(self.texts.gather(rows)), size, salts)

    def blocks(self, *rows: np.ndarray) -> Iterator[slice]:
        """Yield slices over ``rows`` whose texts together take no more than BLOCK_BYTES."""
        sizes = self.texts.str.len_bytes().to_numpy().astype(np.int64)
        return blocks_by_size(np.sum([sizes[part] for part in rows], axis=0), BLOCK_BYTES)


def band_keys(shard: TextShard, terms: Terms, settings: NearDuplicateSettings) -> np.ndarray:
    """Return a key for each band of each text's signature, uint64 of shape (bands, texts)."""
    from rensa import RMinHash

    rows = np.arange(len(shard.texts))
    keys = np.empty((settings.permutations // ROWS_PER_BAND, len(rows)), np.uint64)
    for block in shard.blocks(rows):
        found = shard.shingles(rows[block], terms, settings.ngram)
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(
            found.hashes.astype(np.uint64), found.offsets.astype(np.uint64), settings.permutations, settings.seed
        )
        halves = np.array(matrix.to_rows(), dtype=np.uint32).view(np.uint64).T
        keys[:, block] = (halves[0::2] * _MIXER) ^ halves[1::2]
    return keys


def are_near(shard: tuple[TextShard, np.ndarray], terms: Terms, settings: NearDuplicateSettings) -> np.ndarray:
    """Return which pairs of texts, int64 of shape (2, pairs), reach the threshold, bool of shape (pairs,)."""
    texts, pairs = shard
    near = np.zeros(pairs.shape[1], bool)
    for block in texts.blocks(*pairs):
        rows, places = np.unique(pairs[:, block], return_inverse=True)
        found = texts.shingles(rows, terms, settings.ngram)
        common = found.common(*places)
        near[block] = common / (found.sizes[places].sum(axis=0) - common) >= settings.min_jaccard
    return near


class WithSameHashes(Generic[Part, Result]):
    """A work that is done only where texts have the hashes that they have where it was made."""

    def __init__(self, work: Callable[[Part], Result]) -> None:
        self._work = work
        self._expected = _probe()

    def __call__(self, shard: Part) -> Result:
        """Return what the work makes of a shard; raise OtherHashesError where hashes differ."""
        if _probe() != self._expected:
            raise OtherHashesError(
                "texts have other hashes here than where the work comes from: polars and rensa must have the versions "
                "of constraints.txt on every node"
            )
        return self._work(shard)


def _probe() -> bytes:
    texts = pl.Series(["a text that has one signature, wherever it is made"])
    return band_keys(TextShard(texts), words, NearDuplicateSettings()).tobytes()
