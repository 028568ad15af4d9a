"""What was found and scored before is used again only by code that would find and score the same."""

import numpy as np
import pytest

from conan_assets.search.bm25 import BM25Retriever
from conan_assets.search.embeddings import VectorRetriever
from conan_assets.search.groups import Groups
from conan_assets.search.settings import SEARCH_VERSION, SearchSettings
from conan_assets.search.vectors import ArrayVectors

DOCUMENTS = ["the owl sleeps by day", "an owl and a fox", "foxes eat owls at night", "北方的城市很冷", "nothing"]
QUERIES = ["which owls eat at night", "a fox by day", "北方城市"]
EXCLUDED = Groups.from_pairs(np.array([0, 2]), np.array([1, 4]), 3)
GOLDEN = {
    2: {
        "bm25": ([[2, 0], [0, 1], [3, -1]], [[1.366, 0.251], [0.647, 0.47], [0.928, 0]]),
        "vectors": ([[4, 3], [4, 2], [1, 0]], [[4, 0], [7, -1], [6, 5]]),
    }
}
"""Positions and scores of the two best documents, by version and retriever."""


def vectors(rows: int, seed: int) -> ArrayVectors:
    return ArrayVectors(np.random.default_rng(seed).integers(-2, 3, (rows, 4)).astype(np.float32))


@pytest.mark.parametrize("screening", ["none", "bfloat16"])
@pytest.mark.parametrize("name", ["bm25", "vectors"])
def test_another_result_needs_another_version(name, screening):
    settings = SearchSettings(screening=screening)
    retriever = (
        BM25Retriever(DOCUMENTS)
        if name == "bm25"
        else VectorRetriever(QUERIES, vectors(3, seed=0), vectors(5, seed=1), settings)
    )
    found = retriever.search(QUERIES, 2, EXCLUDED)
    positions, scores = GOLDEN.get(SEARCH_VERSION, {}).get(name, ([], []))
    computed = found.positions.tolist(), np.where(found.positions < 0, 0, found.scores).round(3).tolist()
    message = f"the numbers changed: raise SEARCH_VERSION, or undo the change; they are {computed}"
    assert computed[0] == positions, message
    assert computed[1] == pytest.approx(np.array(scores), abs=2e-3), message
