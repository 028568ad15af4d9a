"""Near-duplicate texts by MinHash (Broder 1997): banded signatures propose pairs, exact Jaccard similarity decides.

1. A text is its set of n-grams, see :mod:`conan_assets.data.shingles`.
2. A signature of ``permutations`` hashes stands for the set. A band of four of them is one key of eight bytes; the
   keys lie on disk, band by band.
3. Texts with the same key in a band are candidates: one band at a time is in memory.
4. A candidate pair counts when the Jaccard similarity of its two sets reaches the threshold, so nothing is removed
   by chance.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import IO

import numpy as np

from conan_assets.compute import IN_PROCESS, Compute, Shard
from conan_assets.data.blocks import TextFile, blocks_by_size
from conan_assets.data.curation_settings import NearDuplicateSettings
from conan_assets.data.near_shards import ROWS_PER_BAND, TextShard, WithSameHashes, are_near, band_keys
from conan_assets.data.shingles import Terms, sorted_distinct
from conan_assets.progress import Progress

COMPARED_WITH = 4
"""Members of a band's bucket that each later member is compared with; keeps buckets of boilerplate linear."""

SHARD_BYTES = 1 << 24
"""Of texts and keys in a shard, some 0.8 s of work."""

FEWEST_SHARDS = 8
"""Fewer are done before processes have started to do them."""

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
    compute
        Who signs and compares them, where there are many.
    """

    texts: TextFile
    numbers: np.ndarray
    terms: Terms
    salts: np.ndarray | None = None
    compute: Compute = IN_PROCESS

    def __len__(self) -> int:
        return len(self.numbers)

    def shard(self, rows: np.ndarray) -> TextShard:
        """Return the texts at ``rows``."""
        return TextShard(self.texts.gather(self.numbers[rows]), None if self.salts is None else self.salts[rows])

    def parts(self, *rows: np.ndarray, bytes_of_keys: int) -> list[slice]:
        """Return slices over ``rows`` whose texts, and so many bytes for each, are no more than SHARD_BYTES."""
        sizes = np.sum([self.texts.sizes(self.numbers[part]) for part in rows], axis=0)
        return [*blocks_by_size(sizes + bytes_of_keys, SHARD_BYTES)]

    def spread(
        self, work: Callable[[Shard], np.ndarray], parts: list[slice], read: Callable[[slice], Shard]
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield each part and what the work makes of the shard that is read for it."""
        compute = self.compute if len(parts) >= FEWEST_SHARDS else IN_PROCESS
        yield from zip(parts, compute.map(WithSameHashes(work), _Shards(parts, read)), strict=True)


class _Shards(Sequence[Shard]):
    """Shards that are read one by one as they are sent."""

    def __init__(self, parts: Sequence[slice], read: Callable[[slice], Shard]) -> None:
        self._parts, self._read = parts, read

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, number: int) -> Shard:  # type: ignore[override]
        return self._read(self._parts[number])


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
    rows, progress = np.arange(len(compared)), Progress("comparing texts", len(compared))
    parts = compared.parts(rows, bytes_of_keys=8 * settings.permutations // ROWS_PER_BAND)
    sign = partial(band_keys, terms=compared.terms, settings=settings)
    for part, keys in compared.spread(sign, parts, lambda part: compared.shard(rows[part])):
        for band, row in enumerate(keys):
            file.seek((band * len(compared) + part.start) * 8)
            file.write(row.data)
        progress.advance(part.stop - part.start)


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

    def read(part: slice) -> tuple[TextShard, np.ndarray]:
        rows, places = np.unique([earlier[part], later[part]], return_inverse=True)
        return compared.shard(rows), places

    near = np.zeros(len(earlier), bool)
    parts = compared.parts(earlier, later, bytes_of_keys=16)
    compare = partial(are_near, terms=compared.terms, settings=settings)
    for part, found in compared.spread(compare, parts, read):
        near[part] = found
    return near
