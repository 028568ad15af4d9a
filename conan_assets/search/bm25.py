"""BM25 as a retriever."""

from collections.abc import Sequence

import numpy as np

from conan_assets.lexical import BM25
from conan_assets.search.retriever import ExhaustiveRetriever


class BM25Retriever(ExhaustiveRetriever):
    """BM25 over the texts of documents."""

    def __init__(self, documents: Sequence[str], retrievable: int | None = None) -> None:
        super().__init__(documents, retrievable)
        self._index = BM25(documents)

    def scores(self, query: str) -> np.ndarray:
        """Return the BM25 score of every document for ``query``, float32 of shape (documents,)."""
        return self._index.scores(query)
