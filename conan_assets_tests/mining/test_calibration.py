"""Calibration finds the largest ratio that removes the wanted share of hidden positives."""

import numpy as np
import polars as pl
import pytest

from conan_assets.mining.calibration import calibrated_ratio, calibration_report, hidden_positive_bounds
from conan_assets.search.settings import Calibration


def make_table(queries: int, spread: float, seed: int = 0) -> pl.LazyFrame:
    """Two positives and three candidates a query; the lower positive is up to ``spread`` below the higher."""
    generator = np.random.default_rng(seed)
    rows = []
    for query in range(queries):
        high = generator.uniform(0.6, 0.9)
        scores = [high, high * (1 - generator.uniform(0, spread)), *generator.uniform(0.1, 0.5, 3)]
        rows += [(f"q{query}", f"d{i}", score, i < 2) for i, score in enumerate(scores)]
    return pl.LazyFrame(rows, schema=["query_id", "doc_id", "score", "is_positive"], orient="row")


def test_the_bound_is_where_the_rule_starts_to_let_the_hidden_positive_through():
    table = pl.LazyFrame(
        {"query_id": ["a", "a", "b"], "doc_id": ["1", "2", "3"], "score": [0.8, 0.6, 0.9], "is_positive": [True] * 3}
    )
    assert sorted(hidden_positive_bounds(table).tolist()) == pytest.approx([0.6 / 0.8, 0.8 / 0.6])


def test_a_hidden_positive_is_held_against_the_mean_of_the_others():
    table = pl.LazyFrame(
        {"query_id": ["a"] * 3, "doc_id": ["1", "2", "3"], "score": [0.8, 0.6, 0.4], "is_positive": [True] * 3}
    )
    assert sorted(hidden_positive_bounds(table).tolist()) == pytest.approx([0.4 / 0.7, 0.6 / 0.6, 0.8 / 0.5])


def test_the_bound_is_right_below_zero():
    table = pl.LazyFrame(
        {"query_id": ["a", "a"], "doc_id": ["1", "2"], "score": [-1.0, -1.2], "is_positive": [True, True]}
    )
    assert min(hidden_positive_bounds(table)) == pytest.approx(0.8)


def test_the_ratio_removes_the_wanted_share_and_no_larger_one_does():
    table = make_table(200, spread=0.3)
    settings = Calibration(caught=0.9)
    ratio = calibrated_ratio(table, settings)
    bounds = hidden_positive_bounds(table)
    assert (bounds >= ratio).mean() >= 0.9
    assert (bounds >= ratio + 1e-3).mean() < 0.9


def test_a_teacher_that_spreads_positives_wider_needs_a_smaller_ratio():
    narrow, wide = (calibrated_ratio(make_table(200, spread), Calibration()) for spread in (0.05, 0.5))
    assert wide < narrow


def test_too_few_judgements_leave_the_ratio_alone():
    assert calibrated_ratio(make_table(10, 0.3), Calibration(min_judgements=30)) is None


def test_the_report_shows_what_each_ratio_removes(tmp_path):
    make_table(100, 0.3).sink_parquet(tmp_path / "table", row_group_size=50)
    report = calibration_report(tmp_path / "table", Calibration())
    assert report["hidden_positives"] == 200
    row = report["calibration"][-1]
    assert row["ratio"] == pytest.approx(report["calibrated_ratio"], abs=1e-4)
    assert row["hidden_positives_removed"] >= 0.9
    assert 0 <= row["candidates_removed"] < 0.5
