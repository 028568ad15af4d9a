"""Texts equal or nearly equal to a positive, found by their words: never negatives, whatever their ids and scores."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from conan_assets.data.text import comparison_key
from conan_assets.mining.groups import Groups

SHINGLE = 3
SHINGLES_PER_CHUNK = 1 << 20
_TERM = r"[\p{Han}\p{Hiragana}\p{Katakana}]|[\p{L}\p{N}]+"
_MIXERS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)
_32 = np.uint64(32)

DIFFERENT, NEAR, EQUAL = 0, 1, 2


@dataclass(frozen=True)
class Shingles:
    """The distinct word trigrams of every text, hashed; Chinese and Japanese characters count as words.

    Attributes
    ----------
    offsets, hashes
        Those of text i are ``hashes[offsets[i]:offsets[i + 1]]``, uint32, sorted.
    keys
        uint64 hash of every normalised text; equal keys, equal texts.
    """

    offsets: np.ndarray
    hashes: np.ndarray
    keys: np.ndarray

    @classmethod
    def of(cls, texts: pl.Series) -> "Shingles":
        """Return the shingles of ``texts``; a text shorter than three words is one shingle."""
        normal = texts.to_frame("text").select(comparison_key(pl.col("text")))["text"]
        terms = normal.str.extract_all(_TERM)
        lengths = terms.list.len().to_numpy().astype(np.int64)
        words = terms.explode(empty_as_null=False).hash(seed=0).to_numpy()
        sizes = np.maximum(lengths - SHINGLE + 1, np.minimum(lengths, 1))
        owners = np.repeat(np.arange(len(texts)), sizes)
        within = np.arange(len(owners)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        starts = (np.cumsum(lengths) - lengths)[owners] + within
        hashes = np.zeros(len(owners), np.uint64)
        for place, mixer in enumerate(_MIXERS):
            inside = within + place < lengths[owners]
            hashes[inside] += words[starts[inside] + place] * mixer
        pairs = np.unique(owners.astype(np.uint64) << _32 | hashes >> _32)
        offsets = np.searchsorted(pairs, np.arange(len(texts) + 1, dtype=np.uint64) << _32)
        return cls(offsets, pairs.astype(np.uint32), normal.hash(seed=0).to_numpy())

    @property
    def sizes(self) -> np.ndarray:
        """Number of shingles of every text, int64."""
        return np.diff(self.offsets)

    def keyed(self, texts: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return the shingles of ``texts`` one after the other, each under its text's key: key * 2**32 + hash."""
        sizes = self.sizes[texts]
        first = np.cumsum(sizes) - sizes
        rows = np.arange(sizes.sum()) + np.repeat(self.offsets[texts] - first, sizes)
        return np.repeat(keys.astype(np.uint64) << _32, sizes) | self.hashes[rows]


def compare_with_positives(
    shingles: Shingles,
    queries: np.ndarray,
    documents: np.ndarray,
    positives: Groups,
    containment: float,
    min_length: float,
) -> np.ndarray:
    """Return DIFFERENT, NEAR or EQUAL for each candidate: how it relates to the closest positive of its query.

    A candidate is nearly equal to a positive when it holds at least ``containment`` of the positive's trigrams; or
    when the positive holds as much of the candidate's, and the candidate has at least ``min_length`` times as many as
    the positive.

    Parameters
    ----------
    queries, documents
        Positions of the candidates, int64 of shape (candidates,), sorted by query.
    positives
        Positions of each query's positives among the same texts.
    """
    verdicts = np.full(len(queries), DIFFERENT, np.int8)
    sizes = shingles.sizes
    for rows, members in _comparisons(sizes[documents], queries, positives):
        candidates = documents[rows]
        texts = positives.members[members]
        reference = shingles.keyed(positives.members[members[0] : members[-1] + 1], np.arange(np.ptp(members) + 1))
        wanted = shingles.keyed(candidates, members - members[0])
        shared = np.append(reference, np.uint64(0))[np.searchsorted(reference, wanted)] == wanted
        common = np.bincount(np.repeat(np.arange(len(rows)), sizes[candidates])[shared], minlength=len(rows))
        holds_positive = common >= containment * sizes[texts]
        held_by_positive = (common >= containment * sizes[candidates]) & (
            sizes[candidates] >= min_length * sizes[texts]
        )
        near = (common > 0) & (holds_positive | held_by_positive)
        verdicts[rows[near]] = np.maximum(verdicts[rows[near]], NEAR)
        verdicts[rows[shingles.keys[candidates] == shingles.keys[texts]]] = EQUAL
    return verdicts


def _comparisons(sizes: np.ndarray, queries: np.ndarray, positives: Groups) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield chunks of (candidate rows, indices into ``positives.members``) to compare, every pair of a query once."""
    first = np.searchsorted(queries, positives.rows)
    counts = np.searchsorted(queries, positives.rows, side="right") - first
    totals = np.append(0, np.cumsum(sizes))
    work = np.cumsum(totals[first + counts] - totals[first] + counts)
    bounds = np.unique(np.searchsorted(work, np.arange(0, work[-1] + SHINGLES_PER_CHUNK, SHINGLES_PER_CHUNK)))
    for start, stop in zip(bounds, [*bounds[1:], len(work)], strict=True):
        chunk = counts[start:stop]
        if chunk.sum():
            members = np.repeat(np.arange(start, stop), chunk)
            rows = np.arange(len(members)) + np.repeat(first[start:stop] - (np.cumsum(chunk) - chunk), chunk)
            yield rows, members
