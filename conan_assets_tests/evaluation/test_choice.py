"""Which round is the best, what it gained, and how that is said."""

from dataclasses import replace

import pytest

from conan_assets.evaluation.choice import Choice, choose
from conan_assets.evaluation.report import LeaderboardEntry


def chosen(*entries: LeaderboardEntry) -> Choice:
    return choose(entries, "docs", "dev", "ndcg_at_10")


@pytest.fixture
def base(entries) -> LeaderboardEntry:
    return entries[1]._replace(model="base model")


def as_good_as(entry: LeaderboardEntry, name: str, gain: float = 0.0) -> LeaderboardEntry:
    """Return a round with the scores of ``entry``, raised by ``gain``."""
    rows = [replace(row, value=row.value + gain) for row in entry.report.rows]
    return entry._replace(round=name.replace(" ", "_"), model=name, report=replace(entry.report, rows=rows))


def test_of_equals_the_base_model_is_chosen_and_the_outcome_says_that_nothing_was_trained(base):
    choice = chosen(base, as_good_as(base, "round 1"), as_good_as(base, "round 2"))
    assert choice.is_start
    told = choice.outcome()
    assert told.startswith("**No round was better than the base model: the base model is released as it is.**")
    assert (
        "Round 1, the best of the rounds, against it: dev +0.00 points (95 %: +0.00 to +0.00, 8 queries); test" in told
    )
    assert "What to try" in told
    assert choice.figures()["dev_gain_over_base_model"] == 0


def test_the_outcome_of_a_better_round_names_it_its_score_and_its_gain_with_interval(entries, base):
    better = as_good_as(entries[2], "round 1", gain=1.0)
    choice = chosen(base, better)
    score = next(row.value for row in better.report.rows if row.main and row.split == "dev")
    (dev, test) = choice.gains
    assert choice.outcome().startswith(
        f"**Best: round 1**, the highest ndcg_at_10 on suite docs, split dev: {100 * score:.2f} points. Gain over the "
        f"base model: dev {100 * dev.difference:+.2f} points (95 %: {100 * dev.low:+.2f} to {100 * dev.high:+.2f}, "
    )
    figures = choice.figures()
    assert figures["test_gain_over_base_model"] == pytest.approx(100 * test.difference, abs=0.005)
    assert (figures["dev_gain_low"], figures["dev_gain_high"]) == pytest.approx(
        (100 * dev.low, 100 * dev.high), abs=0.005
    )
    assert not any("**" in str(value) for value in figures.values())


def test_rounds_that_start_from_a_trained_model_are_measured_against_the_base_model_beside_it(entries, base):
    baseline, start = base._replace(baseline=True), as_good_as(entries[2], "round 0", gain=1.0)
    choice = chosen(baseline, start, as_good_as(entries[1], "round 1"))
    assert choice.is_start
    assert "No round was better than round 0: round 0 is released as it is." in choice.outcome()
    assert "Gain over the base model: dev" in choice.outcome()


def test_a_programme_without_rounds_has_one_checkpoint_to_release(base):
    assert chosen(base).outcome().startswith("**Best: base model**, the only one there is; ndcg_at_10 on suite docs")
