"""The n-grams of texts as hashes: of words, or of characters where words mean little (queries, Chinese)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from conan_assets.data.text import comparison_key

Terms = Callable[[pl.Series], pl.Series]
"""What a text is made of: texts in, lists of their terms out."""

CJK = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]"
CJK_SHARE = 0.2

_MIXER = np.uint64(0x9E3779B97F4A7C15)
_ODD = np.uint64(0xC2B2AE3D27D4EB4F)
_SHIFT = np.uint64(29)


@dataclass(frozen=True)
class Shingles:
    """Hashed n-grams of several texts one after the other.

    Attributes
    ----------
    hashes
        uint64; those of text i are ``hashes[offsets[i]:offsets[i + 1]]``, at least one.
    offsets
        uint64 of shape (texts + 1,).
    """

    hashes: np.ndarray
    offsets: np.ndarray

    def distinct(self, text: int) -> np.ndarray:
        """Return the different n-grams of one text, sorted."""
        return np.unique(self.hashes[int(self.offsets[text]) : int(self.offsets[text + 1])])


def characters(texts: pl.Series) -> pl.Series:
    """Return the characters of each text, its words joined by one blank."""
    return _plain(texts).str.split("")


def words_or_characters(texts: pl.Series) -> pl.Series:
    """Return the words of each text, or its characters where much of it is Chinese, Japanese or Korean."""
    plain = pl.col("plain")
    in_characters = plain.str.count_matches(CJK) > CJK_SHARE * plain.str.len_chars()
    terms = pl.when(in_characters).then(plain.str.split("")).otherwise(plain.str.split(" "))
    return _plain(texts).to_frame("plain").select(terms).to_series()


def _plain(texts: pl.Series) -> pl.Series:
    """Return the words of texts, C++ and C# among them; a text of nothing but symbols is these symbols."""
    key = comparison_key(pl.col("text"))
    words = key.str.replace_all(r"[^\p{L}\p{M}\p{N}_+#]+", " ").str.strip_chars()
    return texts.to_frame("text").select(pl.when(words == "").then(key).otherwise(words)).to_series()


def shingles(terms: pl.Series, size: int, salts: np.ndarray | None = None) -> Shingles:
    """Return the ``size``-grams of lists of terms; a list with fewer terms is one shingle.

    Parameters
    ----------
    terms
        What :func:`characters` or :func:`words_or_characters` returns.
    size
        Terms of an n-gram.
    salts
        uint64 for each text: texts with different salts have no n-gram in common.
    """
    lengths = terms.list.len().to_numpy().astype(np.int64)
    hashed = terms.explode(empty_as_null=False).hash(seed=0).to_numpy()
    counts = np.maximum(lengths - size + 1, 1)
    ends = np.cumsum(counts)
    owners = np.repeat(np.arange(len(terms)), counts)
    within = np.arange(len(owners)) - (ends - counts)[owners]
    starts = (np.cumsum(lengths) - lengths)[owners] + within
    mixed = np.zeros(len(owners), np.uint64) if salts is None else salts[owners].astype(np.uint64)
    for place in range(size):
        inside = within + place < lengths[owners]
        mixed[inside] = _mix(mixed[inside] * _ODD + hashed[starts[inside] + place])
    return Shingles(mixed, np.concatenate([[0], ends]).astype(np.uint64))


def _mix(values: np.ndarray) -> np.ndarray:
    values = (values ^ (values >> _SHIFT)) * _MIXER
    return values ^ (values >> _SHIFT)


def jaccard(one: np.ndarray, other: np.ndarray) -> float:
    """Return the share of the union of two sets, as sorted arrays, that is common to both."""
    common = len(np.intersect1d(one, other, assume_unique=True))
    return common / max(len(one) + len(other) - common, 1)
