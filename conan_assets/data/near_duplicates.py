"""Near-duplicate texts by MinHash (Broder 1997): banded signatures propose pairs, exact Jaccard similarity decides.

1. A text is its set of n-grams: of words, or of characters where words mean little (queries, Chinese).
2. A signature of ``permutations`` hashes stands for the set; signatures lie on disk, band by band.
3. Texts with the same hashes in a band are candidates: one band at a time is in memory.
4. A candidate pair counts when the Jaccard similarity of its two sets reaches the threshold, so nothing is removed
   by chance.
"""

import re
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl

from conan_assets.data.settings import NearDuplicateSettings

Shingles = Callable[[str], set[str]]

ROWS_PER_BAND = 4
"""Four hashes a band: at 128 hashes a pair of Jaccard similarity 0.7 shares a band with probability 0.9998."""

COMPARED_WITH = 4
"""Members of a band's bucket that each later member is compared with; keeps buckets of boilerplate linear."""

BLOCK_TEXTS = 8_192

_WORD = re.compile(r"\w+")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]")
CJK_SHARE = 0.2


def document_shingles(text: str, size: int) -> set[str]:
    """Return the word ``size``-grams of a text, or its character ``size``-grams where much of it is Chinese."""
    if len(_CJK.findall(text)) > CJK_SHARE * len(text):
        return character_shingles(text, size)
    words = _words(text)
    return {" ".join(words[i : i + size]) for i in range(max(len(words) - size + 1, 1))}


def character_shingles(text: str, size: int) -> set[str]:
    """Return the character ``size``-grams of a text, its words joined by one blank."""
    characters = " ".join(_words(text))
    return {characters[i : i + size] for i in range(max(len(characters) - size + 1, 1))}


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())


def jaccard(one: set[str], other: set[str]) -> float:
    """Return the share of the union of two sets that is common to both."""
    return len(one & other) / max(len(one | other), 1)


def near_pairs(texts: pl.Series, shingles: Shingles, settings: NearDuplicateSettings) -> list[tuple[int, int]]:
    """Return the pairs of positions (earlier, later) of near-equal texts, by the later position.

    Memory beyond the texts grows with one band of the signatures, 24 bytes a text.
    """
    if len(texts) < 2:
        return []
    found: set[tuple[int, int]] = set()
    rejected: set[tuple[int, int]] = set()
    with tempfile.TemporaryDirectory(prefix="conan_assets_minhash_") as folder:
        _write_bands(texts, shingles, settings, Path(folder))
        for band in sorted(Path(folder).iterdir()):
            for pair in _bucket_mates(np.fromfile(band, dtype=np.uint32).reshape(-1, ROWS_PER_BAND)):
                if pair in found or pair in rejected:
                    continue
                near = jaccard(shingles(texts[pair[0]]), shingles(texts[pair[1]])) >= settings.min_jaccard
                (found if near else rejected).add(pair)
    return sorted(found, key=lambda pair: (pair[1], pair[0]))


def representatives(texts: pl.Series, shingles: Shingles, settings: NearDuplicateSettings) -> np.ndarray:
    """Return for each text the position of the first near-equal text that is kept: its own if it is kept.

    A text is compared with kept texts alone, so that a chain of small changes does not remove its far end.
    """
    kept_for = np.arange(len(texts), dtype=np.int64)
    for earlier, later in near_pairs(texts, shingles, settings):
        if kept_for[earlier] == earlier and kept_for[later] == later:
            kept_for[later] = earlier
    return kept_for


def _write_bands(texts: pl.Series, shingles: Shingles, settings: NearDuplicateSettings, folder: Path) -> None:
    from rensa import RMinHash

    for start in range(0, len(texts), BLOCK_TEXTS):
        sets = [list(shingles(text)) for text in texts.slice(start, BLOCK_TEXTS)]
        rows = RMinHash.digest_matrix_from_token_sets(sets, settings.permutations, settings.seed).to_rows()
        signatures = np.array(rows, dtype=np.uint32)
        for number in range(settings.permutations // ROWS_PER_BAND):
            with (folder / f"{number:04}").open("ab") as band:
                signatures[:, number * ROWS_PER_BAND : (number + 1) * ROWS_PER_BAND].tofile(band)


def _bucket_mates(band: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield pairs (earlier, later) of rows that are equal, each row with the first and the nearest before it."""
    order = np.lexsort(band.T)
    ordered = band[order]
    starts = np.flatnonzero(np.r_[True, (ordered[1:] != ordered[:-1]).any(axis=1)])
    ends = np.r_[starts[1:], len(order)]
    for start, end in zip(starts[ends - starts > 1], ends[ends - starts > 1], strict=True):
        members = sorted(int(row) for row in order[start:end])
        for position, later in enumerate(members[1:], start=1):
            nearest = members[max(position - COMPARED_WITH + 1, 1) : position]
            yield from ((earlier, later) for earlier in (members[0], *nearest))
