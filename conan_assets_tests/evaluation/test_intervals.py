"""Bootstrap intervals and paired differences."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from conan_assets.evaluation.intervals import bootstrap_interval, differences, with_intervals
from conan_assets.evaluation.report import ScoreRow

PLACE = {"suite": "s", "task": "t", "subset": "default", "split": "test"}
ROW = ScoreRow(**PLACE, metric="ndcg_at_10", type="Retrieval", value=0.5, main=True, queries=2)


def scored(values, task="t", part_of=None) -> pl.DataFrame:
    place = {"suite": "s", "task": task, "part_of": part_of, "subset": "default", "split": "test"}
    rows = [{**place, "query_id": f"q{i}", "ndcg_at_10": float(v)} for i, v in enumerate(values)]
    return pl.DataFrame(rows, schema_overrides={"part_of": pl.String})


@given(arrays.arrays(float, st.integers(1, 40), elements=st.floats(0, 1)))
def test_the_interval_is_ordered_within_the_values_and_the_same_every_time(values):
    low, high = bootstrap_interval([values])
    assert values.min() - 1e-9 <= low <= high <= values.max() + 1e-9
    assert bootstrap_interval([values]) == (low, high)


def test_the_interval_has_the_width_that_the_normal_approximation_gives():
    values = np.random.default_rng(1).uniform(size=2_000)
    low, high = bootstrap_interval([values])
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(2_000), rel=0.1)
    assert low < values.mean() < high


def test_rows_without_scores_per_query_get_no_interval():
    rows = [ROW, replace(ROW, task="sts", metric="cosine_spearman")]
    first, second = with_intervals(rows, scored([0.4, 0.6]))
    assert first.low is not None
    assert (second.low, second.high) == (None, None)


def test_a_small_gain_on_every_query_is_beyond_chance_though_the_intervals_overlap():
    base = np.random.default_rng(2).uniform(0, 0.9, size=100)
    (row,) = differences([ROW], scored(base + 0.02), {"base model": scored(base)})
    assert (row.reference, row.queries, row.beyond_chance) == ("base model", 100, True)
    assert row.difference == pytest.approx(0.02)
    assert bootstrap_interval([base])[1] > bootstrap_interval([base + 0.02])[0]


def test_a_model_does_not_differ_from_itself():
    (row,) = differences([ROW], scored([0.1, 0.9, 0.5]), {"itself": scored([0.1, 0.9, 0.5])})
    assert (row.difference, row.low, row.high, row.beyond_chance) == (0, 0, 0, False)


def test_only_queries_of_both_models_are_compared():
    (row,) = differences([ROW], scored([1, 1, 1]), {"earlier": scored([0, 0])})
    assert (row.queries, row.difference) == (2, 1.0)
    assert differences([replace(ROW, split="dev")], scored([1]), {"earlier": scored([0])}) == []


def test_a_task_made_of_parts_has_the_interval_of_the_mean_over_its_parts_not_over_its_queries():
    large, small = np.full(1_000, 0.2), np.random.default_rng(3).uniform(0.5, 0.9, size=30)
    queries = pl.concat([scored(large, "large", part_of="t"), scored(small, "small", part_of="t")])
    (row,) = with_intervals([ROW], queries)
    low, high = bootstrap_interval([small])
    assert (row.low, row.high) == pytest.approx(((0.2 + low) / 2, (0.2 + high) / 2), abs=0.01)
    (gain,) = differences([ROW], queries, {"base model": queries.with_columns(pl.col("ndcg_at_10") - 0.1)})
    assert (gain.difference, gain.queries) == (pytest.approx(0.1), 1_030)


def test_a_task_of_which_the_reference_lacks_a_part_is_not_compared():
    first, second = scored([1, 1], "first", part_of="t"), scored([1, 0], "second", part_of="t")
    assert differences([ROW], pl.concat([first, second]), {"earlier": first}) == []
