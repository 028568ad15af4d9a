import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conan_assets.encoding.spread import count_not_finite, effective_rank, mean_cosine


def unit_rows(seed: int, rows: int, dim: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(rows, dim))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


@given(st.integers(0, 1_000), st.integers(2, 30), st.integers(1, 30))
def test_mean_cosine_is_the_mean_over_pairs_of_different_rows(seed: int, rows: int, dim: int):
    embeddings = unit_rows(seed, rows, dim)
    products = (embeddings @ embeddings.T)[~np.eye(rows, dtype=bool)]
    assert mean_cosine(embeddings) == pytest.approx(products.mean(), abs=1e-5)


@given(st.integers(0, 1_000), st.integers(1, 30), st.integers(1, 30))
def test_effective_rank_lies_between_one_and_the_smaller_side(seed: int, rows: int, dim: int):
    assert 1 - 1e-9 <= effective_rank(unit_rows(seed, rows, dim)) <= min(rows, dim) + 1e-9


def test_rows_with_a_nan_or_an_infinite_component_are_counted():
    rows = unit_rows(0, 5, 8)
    rows[1, 2], rows[3] = np.nan, np.inf
    assert count_not_finite(rows) == 2


def test_orthogonal_rows_use_every_dimension_and_equal_rows_one():
    assert effective_rank(np.eye(8)) == pytest.approx(8)
    same = np.tile(unit_rows(0, 1, 8), (5, 1))
    assert effective_rank(same) == pytest.approx(1, abs=1e-3)
    assert mean_cosine(same) == pytest.approx(1, abs=1e-6)
