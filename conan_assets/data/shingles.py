"""The n-grams of texts as sets of hashes: of words, or of characters where a text is as short as a query."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from conan_assets.data.text import comparison_key

Terms = Callable[[pl.Series], pl.Series]
"""What a text is made of: texts in, lists of their terms out."""

WORD_CHARACTERS = r"\p{L}\p{M}\p{N}_+#"
"""Of what words are made, C++ and C# among them."""

WITHOUT_BLANKS = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts that put no blanks between words: there each character counts as one."""

_TERM = rf"[{WITHOUT_BLANKS}]|[{WORD_CHARACTERS}&&[^{WITHOUT_BLANKS}]]+"
_MIXER = np.uint64(0x9E3779B97F4A7C15)
_ODD = np.uint64(0xC2B2AE3D27D4EB4F)
_29, _32 = np.uint64(29), np.uint64(32)


def characters(texts: pl.Series) -> pl.Series:
    """Return the characters of each text, its words joined by one blank; of nothing but symbols, these symbols."""
    key = comparison_key(pl.col("text"))
    plain = key.str.replace_all(rf"[^{WORD_CHARACTERS}]+", " ").str.strip_chars()
    return texts.to_frame("text").select(pl.when(plain == "").then(key).otherwise(plain).str.split("")).to_series()


def words(texts: pl.Series) -> pl.Series:
    """Return the words of each text; of nothing but symbols, these symbols as one word."""
    key = comparison_key(pl.col("text"))
    found = key.str.extract_all(_TERM)
    either = pl.when(found.list.len() == 0).then(pl.concat_list(key)).otherwise(found)
    return texts.to_frame("text").select(either).to_series()


@dataclass(frozen=True)
class Shingles:
    """The distinct n-grams of several texts, at least one each.

    Attributes
    ----------
    hashes
        uint32; those of text i are ``hashes[offsets[i]:offsets[i + 1]]``, sorted.
    offsets
        int64 of shape (texts + 1,).
    """

    hashes: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, terms: pl.Series, size: int, salts: np.ndarray | None = None) -> "Shingles":
        """Return the ``size``-grams of lists of terms; a list with fewer terms is one n-gram.

        Parameters
        ----------
        terms
            What :func:`characters` or :func:`words` returns.
        size
            Terms of an n-gram.
        salts
            uint64 for each text: texts with different salts have no n-gram in common.
        """
        lengths = terms.list.len().to_numpy().astype(np.int64)
        hashed = terms.explode(empty_as_null=False).hash(seed=0).to_numpy()
        counts = np.maximum(lengths - size + 1, 1)
        owners = np.repeat(np.arange(len(terms)), counts)
        within = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
        starts = (np.cumsum(lengths) - lengths)[owners] + within
        mixed = np.zeros(len(owners), np.uint64) if salts is None else salts[owners].astype(np.uint64)
        for place in range(size):
            inside = within + place < lengths[owners]
            mixed[inside] = _mix(mixed[inside] * _ODD + hashed[starts[inside] + place])
        sets = sorted_distinct(owners.astype(np.uint64) << _32 | mixed >> _32)
        offsets = np.searchsorted(sets, np.arange(len(terms) + 1, dtype=np.uint64) << _32)
        return cls(sets.astype(np.uint32), offsets)

    @property
    def sizes(self) -> np.ndarray:
        """Number of n-grams of every text, int64."""
        return np.diff(self.offsets)

    def and_then(self, others: "Shingles") -> "Shingles":
        """Return the n-grams of these texts and, after them, of others."""
        offsets = np.concatenate([self.offsets, self.offsets[-1] + others.offsets[1:]])
        return Shingles(np.concatenate([self.hashes, others.hashes]), offsets)

    def common(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """Return how many n-grams the texts ``one[i]`` and ``other[i]`` share, int64 of shape (len(one),)."""
        distinct, places = np.unique(other, return_inverse=True)
        reference = self._keyed(distinct, np.arange(len(distinct)))
        wanted = self._keyed(one, places)
        shared = np.append(reference, np.uint64(0))[np.searchsorted(reference, wanted)] == wanted
        return np.bincount(np.repeat(np.arange(len(one)), self.sizes[one])[shared], minlength=len(one))

    def _keyed(self, texts: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return the n-grams of ``texts`` one after the other, each under its text's key: key * 2**32 + hash."""
        sizes = self.sizes[texts]
        first = np.cumsum(sizes) - sizes
        rows = np.arange(sizes.sum()) + np.repeat(self.offsets[texts] - first, sizes)
        keyed: np.ndarray = np.repeat(keys.astype(np.uint64) << _32, sizes) | self.hashes[rows]
        return keyed


def sorted_distinct(values: np.ndarray) -> np.ndarray:
    """Return the different values in order; many times faster than ``numpy.unique``, which hashes large arrays."""
    ordered = np.sort(values)
    return ordered[np.append(True, ordered[1:] != ordered[:-1])] if len(ordered) else ordered


def _mix(values: np.ndarray) -> np.ndarray:
    values = (values ^ (values >> _29)) * _MIXER
    mixed: np.ndarray = values ^ (values >> _29)
    return mixed
