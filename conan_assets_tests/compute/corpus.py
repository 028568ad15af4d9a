"""A corpus to be searched, and what it is asked: whoever searches it must find the same."""

import numpy as np

from conan_assets.search.groups import Groups
from conan_assets.search.ranking import Neighbours
from conan_assets.search.vectors import ArrayVectors


def _unit_rows(count: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, 24)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


QUERIES = ArrayVectors(_unit_rows(300, seed=1))
DOCUMENTS = ArrayVectors(_unit_rows(2_500, seed=2).astype(np.float16))
EXCLUDED = Groups.from_pairs(np.arange(600) % 300, np.arange(600) * 4, 300)


def as_bytes(found: Neighbours) -> tuple[bytes, bytes]:
    """Return what was found, to be compared."""
    return found.positions.tobytes(), found.scores.tobytes()
