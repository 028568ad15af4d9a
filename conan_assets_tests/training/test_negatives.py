import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conan_assets.training.columns import Lists
from conan_assets.training.negatives import NegativeTable, Replacements
from conan_assets.training.settings import DynamicNegativeSettings

V1 = DynamicNegativeSettings(rule="v1", v1_every_steps=2)
V2 = DynamicNegativeSettings(rule="v2")
ZERO = np.array([0])


def table_of(settings: DynamicNegativeSettings, *pools: int, size: int = 2) -> NegativeTable:
    return NegativeTable(Lists.of(np.array(pools), np.arange(sum(pools), dtype=np.int32)), size, settings)


def update(table: NegativeTable, scores: list[float], positive: float = 0.9, step: int = 1) -> Replacements:
    return table.update(step, ZERO, np.array([scores], np.float32), np.array([positive], np.float32))


def test_the_first_set_is_the_head_of_the_pool():
    table = table_of(V2, 5, 1)
    assert table.current.tolist() == [[0, 1], [0, -1]]
    assert table.missing == 1


def test_v2_replaces_a_negative_that_was_easy_from_the_start():
    table = table_of(V2, 5)
    assert update(table, [0.39, 0.41]) == Replacements(replaced=1)
    assert table.current.tolist() == [[2, 1]]


@pytest.mark.parametrize(("score", "due"), [(0.51, False), (0.49, True)])
def test_v2_replaces_a_negative_that_fell_by_the_ratio(score: float, due: bool):
    table = table_of(V2, 5)
    update(table, [0.6, 0.5])
    update(table, [score, 0.5])
    assert table.current[0].tolist() == [2 if due else 0, 1]


def test_v2_keeps_a_negative_that_is_still_hard():
    table = table_of(V2, 5)
    update(table, [0.99, 0.5], positive=1.0)
    update(table, [0.71, 0.5], positive=1.0)
    assert table.current.tolist() == [[0, 1]]


def test_a_replacement_starts_with_a_score_of_its_own():
    table = table_of(V2, 5)
    update(table, [0.3, 0.5])
    update(table, [0.45, 0.5])
    assert table.first_score[0].tolist() == pytest.approx([0.45, 0.5])
    assert table.current.tolist() == [[2, 1]]


def test_the_guard_replaces_what_it_swapped_in_but_trusts_the_first_set():
    table = table_of(V2, 5)
    update(table, [0.3, 0.95], positive=0.9)
    assert table.current.tolist() == [[2, 1]]
    assert table.swapped_in(ZERO).tolist() == [[True, False]]
    update(table, [0.95, 0.95], positive=0.9)
    assert table.current.tolist() == [[3, 1]]


def test_without_the_guard_a_hard_replacement_stays():
    table = table_of(DynamicNegativeSettings(rule="v2", guard=False), 5)
    update(table, [0.3, 0.95])
    update(table, [0.95, 0.95])
    assert table.current.tolist() == [[2, 1]]


def test_an_exhausted_pool_keeps_its_negatives_and_counts():
    table = table_of(V2, 3)
    assert update(table, [0.1, 0.2]) == Replacements(replaced=1, exhausted=1)
    assert table.current.tolist() == [[2, 1]]
    assert table.exhausted.tolist() == [True]
    assert update(table, [0.1, 0.2]) == Replacements(trained_on=1, replaced=0, exhausted=2)


def test_a_replacement_is_trained_on_when_its_sample_is_drawn_again_and_counts_once():
    table = table_of(V2, 9)
    assert update(table, [0.1, 0.9]) == Replacements(replaced=1)
    assert update(table, [0.9, 0.9]) == Replacements(trained_on=1)
    assert update(table, [0.9, 0.9]) == Replacements()


def test_v1_moves_the_whole_set_on_at_its_steps_only():
    table = table_of(V1, 7)
    update(table, [0.6, 0.6], step=1)
    assert update(table, [0.5, 0.5], step=3) == Replacements()
    assert update(table, [0.5, 0.5], step=4) == Replacements(replaced=2)
    assert table.current.tolist() == [[2, 3]]
    assert np.isnan(table.first_score).all()


@pytest.mark.parametrize("scores", [[0.53, 0.53], [0.81, 0.81]])
def test_v1_keeps_a_set_that_is_still_hard(scores: list[float]):
    table = table_of(V1, 7)
    update(table, [0.6, 0.6] if scores[0] < 0.8 else [0.99, 0.99], step=1)
    assert update(table, scores, step=2) == Replacements()


def test_v1_windows_start_where_the_setting_says():
    table = table_of(DynamicNegativeSettings(rule="v1", v1_every_steps=1, v1_window_offset=10), 14)
    windows = []
    for _ in range(3):
        update(table, [0.6, 0.6])
        update(table, [0.3, 0.3])
        windows.append(table.current[0].tolist())
    assert windows == [[10, 11], [12, 13], [12, 13]]
    assert table.exhausted.tolist() == [True]


def test_no_rule_changes_nothing():
    table = table_of(DynamicNegativeSettings(), 5)
    assert update(table, [0.0, 0.0]) == Replacements()
    assert table.current.tolist() == [[0, 1]]


def test_a_sample_drawn_twice_in_a_step_is_updated_once():
    table = table_of(V2, 5)
    scores = np.array([[0.3, 0.5], [0.3, 0.5]], np.float32)
    assert table.update(1, np.array([0, 0]), scores, np.ones(2, np.float32)).replaced == 1


@given(
    st.lists(
        st.lists(st.floats(-1, 1, width=32) | st.just(float("nan")), min_size=3, max_size=3), min_size=1, max_size=12
    ),
    st.integers(0, 9),
    st.sampled_from([V1, V2]),
)
def test_positions_stay_in_the_pool_and_never_come_back(
    rows: list[list[float]], pool: int, settings: DynamicNegativeSettings
):
    table = table_of(settings, pool, size=3)
    seen = set(table.current[0].tolist())
    for step, row in enumerate(rows, start=1):
        scores = np.where(table.current[0] >= 0, np.array(row, np.float32), np.nan)
        before = table.current[0].copy()
        table.update(step, ZERO, scores[None], np.array([0.5], np.float32))
        new = set(table.current[0].tolist()) - set(before.tolist())
        assert not new & seen
        seen |= new
        assert (table.current[0] < max(pool, 1)).all()
        assert len(set(table.current[0].tolist()) - {-1}) == (table.current[0] >= 0).sum()
