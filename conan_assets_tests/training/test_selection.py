import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conan_assets.training.final_weights import WeightAverage, ndcg


def test_the_average_is_the_mean_of_the_last_steps_and_survives_a_restart():
    weights = [{"w": torch.tensor([float(step), 1.0])} for step in range(1, 7)]
    average = WeightAverage(first_step=3)
    for step in (1, 2, 3, 4):
        average.add(step, weights[step - 1])
    again = WeightAverage(first_step=3)
    again.restore(average.tensors(), weights[0])
    for step in (5, 6):
        again.add(step, weights[step - 1])
    torch.testing.assert_close(again.mean["w"], torch.tensor([4.5, 1.0]))


def test_no_share_of_steps_averages_nothing():
    average = WeightAverage(first_step=5)
    average.add(4, {"w": torch.ones(1)})
    assert average.mean == {}


@pytest.mark.parametrize(
    ("scores", "positives", "expected"),
    [
        ([0.9, 0.1, 0.2], 1, 1.0),
        ([0.1, 0.9, 0.2], 1, 1 / math.log2(4)),
        ([0.5, 0.5], 1, 1 / math.log2(3)),
        ([0.9, 0.1, 0.5], 2, (1 + 1 / math.log2(4)) / (1 + 1 / math.log2(3))),
        ([0.0] + [1.0] * 10, 1, 0.0),
    ],
)
def test_ndcg_is_that_of_the_ranking(scores: list[float], positives: int, expected: float):
    assert ndcg(np.array(scores), positives) == pytest.approx(expected)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30), st.integers(1, 5))
def test_ndcg_is_a_share_and_one_when_positives_lead(scores: list[float], positives: int):
    positives = min(positives, len(scores))
    assert 0 <= ndcg(np.array(scores), positives) <= 1
    assert ndcg(-np.arange(len(scores), dtype=float), positives) == pytest.approx(1.0)
