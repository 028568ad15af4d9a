"""Near-duplicate texts by MinHash (Broder 1997): banded signatures propose pairs, exact Jaccard similarity decides.

1. A text is its set of n-grams, see :mod:`conan_assets.data.shingles`.
2. A signature of ``permutations`` hashes stands for the set. A band of four of them is one key of eight bytes; the
   keys lie on disk, band by band.
3. Texts with the same key in a band are candidates: one band at a time is in memory.
4. A candidate pair counts when the Jaccard similarity of its two sets reaches the threshold, so nothing is removed
   by chance.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import IO

import numpy as np

from conan_assets.data.blocks import TextFile, blocks_by_size
from conan_assets.data.curation_settings import NearDuplicateSettings
from conan_assets.data.shingles import Shingles, Terms, sorted_distinct
from conan_assets.progress import Progress

ROWS_PER_BAND = 4
"""Four hashes a band: at 128 hashes a pair of Jaccard similarity 0.7 shares a band with probability 0.9998."""

COMPARED_WITH = 4
"""Members of a band's bucket that each later member is compared with; keeps buckets of boilerplate linear."""

BLOCK_BYTES = 1 << 19

_MIXER = np.uint64(0x9E3779B97F4A7C15)
_32 = np.uint64(32)

Rows = tuple[np.ndarray, np.ndarray]
NO_ROWS = np.empty(0, np.int64)


@dataclass(frozen=True)
class ComparedTexts:
    """Texts that are compared with one another.

    Attributes
    ----------
    texts
        The file that holds them.
    numbers
        Their numbers in the file, in the order of precedence.
    terms
        What a text is made of.
    salts
        uint64 for each text, or None: texts with different salts are never near.
    """

    texts: TextFile
    numbers: np.ndarray
    terms: Terms
    salts: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    def shingles(self, rows: np.ndarray, size: int) -> Shingles:
        """Return the n-grams of the texts at ``rows``."""
        salts = None if self.salts is None else self.salts[rows]
        return Shingles.of(self.terms(self.texts.gather(self.numbers[rows])), size, salts)

    def blocks(self, *rows: np.ndarray) -> Iterator[slice]:
        """Yield slices over ``rows`` whose texts together take no more than BLOCK_BYTES."""
        sizes = np.sum([self.texts.sizes(self.numbers[part]) for part in rows], axis=0)
        return blocks_by_size(sizes, BLOCK_BYTES)


def representatives(compared: ComparedTexts, settings: NearDuplicateSettings) -> np.ndarray:
    """Return for each text the row of the first near-equal text that is kept: its own if it is kept.

    A text is compared with kept texts alone, so that a chain of small changes does not remove its far end.
    """
    kept_for = np.arange(len(compared), dtype=np.int64)
    for earlier, later in zip(*near_pairs(compared, settings), strict=True):
        if kept_for[earlier] == earlier and kept_for[later] == later:
            kept_for[later] = earlier
    return kept_for


def near_pairs(compared: ComparedTexts, settings: NearDuplicateSettings) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows (earlier, later) of near-equal texts, by the later row.

    Memory grows by 8 bytes for each text and each candidate pair.
    """
    return _near(compared, settings, _bucket_mates)


def near_to_known(
    compared: ComparedTexts, known: int, settings: NearDuplicateSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows (known, other) of texts near-equal to one of the first ``known``, by the other row."""
    return _near(compared, settings, partial(_known_mates, known=known)) if known else (NO_ROWS, NO_ROWS)


def _near(
    compared: ComparedTexts, settings: NearDuplicateSettings, mates: Callable[[np.ndarray], Iterator[Rows]]
) -> Rows:
    if len(compared) < 2:
        return NO_ROWS, NO_ROWS
    codes = np.empty(0, np.uint64)
    with tempfile.TemporaryFile(dir=compared.texts.path.parent) as file:
        _write_bands(compared, settings, file)
        for band in range(settings.permutations // ROWS_PER_BAND):
            file.seek(band * len(compared) * 8)
            keys = np.frombuffer(file.read(len(compared) * 8), np.uint64)
            found = [later.astype(np.uint64) << _32 | earlier.astype(np.uint64) for earlier, later in mates(keys)]
            codes = sorted_distinct(np.concatenate([codes, *found]))
    earlier, later = (codes & np.uint64(0xFFFFFFFF)).astype(np.int64), (codes >> _32).astype(np.int64)
    near = _are_near(compared, earlier, later, settings)
    return earlier[near], later[near]


def _write_bands(compared: ComparedTexts, settings: NearDuplicateSettings, file: IO[bytes]) -> None:
    from rensa import RMinHash

    rows, progress = np.arange(len(compared)), Progress("comparing texts", len(compared))
    for block in compared.blocks(rows):
        found = compared.shingles(rows[block], settings.ngram)
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(
            found.hashes.astype(np.uint64), found.offsets.astype(np.uint64), settings.permutations, settings.seed
        )
        halves = np.array(matrix.to_rows(), dtype=np.uint32).view(np.uint64)
        keys = (halves[:, 0::2] * _MIXER) ^ halves[:, 1::2]
        for band, column in enumerate(keys.T):
            file.seek((band * len(compared) + block.start) * 8)
            file.write(np.ascontiguousarray(column).data)
        progress.advance(block.stop - block.start)


def _bucket_mates(keys: np.ndarray) -> Iterator[Rows]:
    """Yield (earlier, later) rows of equal keys, each row with the first and the nearest before it."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    places = np.arange(len(keys))
    firsts = np.maximum.accumulate(np.where(np.r_[True, ordered[1:] != ordered[:-1]], places, 0))
    later = np.flatnonzero(firsts < places)
    yield order[firsts[later]], order[later]
    for distance in range(1, COMPARED_WITH):
        later = later[later - distance > firsts[later]]
        yield order[later - distance], order[later]


def _known_mates(keys: np.ndarray, known: int) -> Iterator[Rows]:
    """Yield (known, other) rows of equal keys, each other row with some of the known ones."""
    order = np.argsort(keys[:known], kind="stable")
    ordered, others = keys[:known][order], keys[known:]
    first, end = np.searchsorted(ordered, others), np.searchsorted(ordered, others, side="right")
    for distance in range(2 * COMPARED_WITH):
        equal = np.flatnonzero(first + distance < end)
        yield order[first[equal] + distance], equal + known


def _are_near(
    compared: ComparedTexts, earlier: np.ndarray, later: np.ndarray, settings: NearDuplicateSettings
) -> np.ndarray:
    """Return which pairs of rows reach the threshold, bool of shape (pairs,)."""
    near = np.zeros(len(earlier), bool)
    for block in compared.blocks(earlier, later):
        rows, places = np.unique([earlier[block], later[block]], return_inverse=True)
        found = compared.shingles(rows, settings.ngram)
        common = found.common(*places)
        near[block] = common / (found.sizes[places].sum(axis=0) - common) >= settings.min_jaccard
    return near
