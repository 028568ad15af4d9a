"""BM25 over a corpus: a teacher for mining and the baseline of every retrieval report."""

import re
from collections.abc import Callable, Sequence

import bm25s
import numpy as np
import Stemmer

K1 = 1.2
B = 0.75

_HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"(?P<han>[{_HAN}]+)|[^\W{_HAN}]+")
# fmt: off
_ENGLISH_STOP_WORDS = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no", "not", "of",
    "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this", "to", "was", "will", "with",
})
# fmt: on
_stem: Callable[[list[str]], list[str]] = Stemmer.Stemmer("english").stemWords


def tokenize(text: str) -> list[str]:
    """Return the terms of ``text``: stemmed lower-case words without stop words, and character bigrams of Chinese."""
    words: list[str] = []
    bigrams: list[str] = []
    for match in _TOKEN.finditer(text.lower()):
        token = match.group()
        if match.lastgroup == "han":
            bigrams.extend([token] if len(token) == 1 else [token[i : i + 2] for i in range(len(token) - 1)])
        elif token not in _ENGLISH_STOP_WORDS:
            words.append(token)
    return _stem(words) + bigrams


class BM25:
    """An index of ``documents`` (Lucene's BM25, k1 1.2, b 0.75), addressed by position."""

    def __init__(self, documents: Sequence[str]) -> None:
        if not documents:
            raise ValueError("BM25 needs at least one document; the corpus is empty")
        self._size = len(documents)
        self._index = bm25s.BM25(k1=K1, b=B, method="lucene")
        self._index.index([tokenize(text) or [""] for text in documents], show_progress=False)

    def scores(self, query: str) -> np.ndarray:
        """Return the score of every document for ``query``, float32 of shape (documents,)."""
        known = [term for term in tokenize(query) if term in self._index.vocab_dict]
        return self._index.get_scores(known) if known else np.zeros(self._size, np.float32)

    def search(self, query: str, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (positions, scores) of the ``k`` best documents above zero, best first, ties by position."""
        scores = self.scores(query)
        k = min(k, self._size)
        lowest = np.partition(scores, self._size - k)[self._size - k]
        candidates = np.flatnonzero((scores >= lowest) & (scores > 0))
        best = candidates[np.argsort(-scores[candidates], kind="stable")[:k]]
        return best, scores[best]
