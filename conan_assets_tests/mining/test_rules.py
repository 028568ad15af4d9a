"""The rules keep exactly what their formulas say, whatever the order, the signs and the ties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from conan_assets.mining.rules import RULES, apply_rule

PARAMETERS = {
    "top_k": {},
    "top_k_shifted": {"shift": 2},
    "top_k_abs": {"threshold": 0.1},
    "top_k_margin_pos": {"margin": 0.05},
    "top_k_perc_pos": {"ratio": 0.95},
}
SCORES = st.floats(-2, 2, width=32)


@st.composite
def candidates(draw):
    size = draw(st.integers(1, 30))
    scores = draw(arrays.arrays(np.float32, size, elements=SCORES))
    references = draw(arrays.arrays(np.float32, size, elements=SCORES))
    return scores, references, np.arange(1, size + 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
@given(candidates(), st.randoms(use_true_random=False))
def test_a_rule_judges_each_candidate_alone_so_their_order_does_not_matter(name, arrays_, random):
    scores, references, ranks = arrays_
    order = np.array(random.sample(range(len(scores)), len(scores)))
    kept = apply_rule(name, scores, references, ranks, PARAMETERS[name])
    shuffled = apply_rule(name, scores[order], references[order], ranks[order], PARAMETERS[name])
    np.testing.assert_array_equal(kept[order], shuffled)


@given(candidates())
def test_equal_scores_of_one_query_get_equal_verdicts_from_rules_on_scores(arrays_):
    scores, references, ranks = arrays_
    scores[:], references[:] = scores[0], references[0]
    for name in ("top_k_abs", "top_k_margin_pos", "top_k_perc_pos"):
        assert len(set(apply_rule(name, scores, references, ranks, PARAMETERS[name]).tolist())) == 1


@given(SCORES.filter(lambda positive: abs(positive) > 1e-3))
def test_perc_pos_never_keeps_a_candidate_at_least_as_good_as_the_positive_even_below_zero(positive):
    scores = np.array(
        [
            positive,
            positive + abs(positive) * 0.01,
            positive - abs(positive) * 0.04,
            positive - abs(positive) * 0.06,
        ]
    )
    kept = apply_rule("top_k_perc_pos", scores, np.full(4, positive), np.arange(4), {"ratio": 0.95})
    assert kept.tolist() == [False, False, False, True]


@given(candidates(), st.floats(0.5, 1), st.floats(0.5, 1))
def test_a_smaller_ratio_keeps_a_subset(arrays_, one, other):
    scores, references, ranks = arrays_
    strict, loose = sorted((one, other))
    kept_strict = apply_rule("top_k_perc_pos", scores, references, ranks, {"ratio": strict})
    kept_loose = apply_rule("top_k_perc_pos", scores, references, ranks, {"ratio": loose})
    assert not (kept_strict & ~kept_loose).any()


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        ("top_k", {}, [True, True, True, True]),
        ("top_k_shifted", {"shift": 2}, [False, False, True, True]),
        ("top_k_abs", {"threshold": 0.7}, [False, False, True, True]),
        ("top_k_margin_pos", {"margin": 0.05}, [False, False, False, True]),
        ("top_k_perc_pos", {"ratio": 0.95}, [False, False, True, True]),
    ],
)
def test_the_published_formulas_on_a_worked_example(name, parameters, expected):
    scores, references = np.array([0.9, 0.7, 0.65, 0.5]), np.full(4, 0.69)
    assert apply_rule(name, scores, references, np.arange(1, 5), parameters).tolist() == expected


def test_comparisons_are_strict():
    half = np.array([0.5])
    assert not apply_rule("top_k_abs", half, half, np.ones(1), {"threshold": 0.5})[0]
    assert not apply_rule("top_k_margin_pos", half, half, np.ones(1), {"margin": 0.0})[0]
    assert not apply_rule("top_k_perc_pos", half, half, np.ones(1), {"ratio": 1.0})[0]
    assert not apply_rule("top_k_shifted", half, half, np.array([10]), {"shift": 10})[0]


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("which", ["scores", "references"])
def test_nan_is_refused(name, which):
    values = {"scores": np.array([0.1, 0.2]), "references": np.array([0.5, 0.5])}
    values[which][1] = np.nan
    with pytest.raises(ValueError, match="candidate 1 is NaN"):
        apply_rule(name, values["scores"], values["references"], np.arange(2), PARAMETERS[name])


def test_an_unknown_rule_is_an_error_that_lists_the_rules():
    with pytest.raises(ValueError, match=r"'top_p'.*top_k, top_k_shifted"):
        apply_rule("top_p", np.zeros(1), np.zeros(1), np.ones(1), {})
