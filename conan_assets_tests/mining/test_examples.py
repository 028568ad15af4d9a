"""Which mined candidates are shown, and that a page of them holds nothing but their texts."""

import polars as pl
import pytest

from conan_assets.mining import examples
from conan_assets.mining.examples import BARELY_REMOVED, HARDEST, LIKELY_FALSE, RANDOM, choose_examples
from conan_assets.mining.examples_page import examples_page
from conan_assets.mining.settings import MiningSettings
from conan_assets.mining.shown import Asked, Shown

SETTINGS = MiningSettings.model_validate(
    {"veto": [{"rule": "top_k_perc_pos", "teacher": "t"}], "negatives_per_query": 1}
)


def mined(queries: int = 20) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """Two kept candidates and a removed one of each query; a higher number is harder for the student and not for t."""
    rows = [
        {
            "query_id": f"q{number:02}",
            "doc_id": name,
            "student_score": 0.5 + number / 1000 + nearer,
            "t_score": 0.4 - number / 1000 + nearer,
            "verdict": "removed" if name == "vetoed" else "kept",
            "reason": "t:top_k_perc_pos" if name == "vetoed" else None,
            "order": order,
        }
        for number in range(queries)
        for name, nearer, order in (("first", 0.1, 1), ("second", 0.0, 2), ("vetoed", 0.6, None))
    ]
    positives = pl.LazyFrame({"query_id": [f"q{n:02}" for n in range(queries)], "doc_id": "right"})
    return pl.LazyFrame(rows), positives.with_columns(student_score=pl.lit(0.7), t_score=pl.lit(0.7))


def test_examples_are_the_hardest_the_likely_false_the_barely_removed_and_random_ones_each_of_another_query():
    chosen = choose_examples(SETTINGS, *mined())
    found: dict[str, list[tuple[str, str]]] = {}
    for row in chosen:
        found.setdefault(row["why"], []).append((row["query_id"], row["doc_id"]))
    assert found[HARDEST] == [("q19", "first"), ("q18", "first"), ("q17", "first")]
    assert found[LIKELY_FALSE] == [("q00", "first"), ("q01", "first"), ("q02", "first")]
    assert found[BARELY_REMOVED] == [("q16", "vetoed"), ("q15", "vetoed"), ("q14", "vetoed")]
    assert len(found[RANDOM]) == 3
    assert {doc_id for _, doc_id in found[RANDOM]} <= {"first", "second"}
    assert len({row["query_id"] for row in chosen}) == len(chosen) == 12


def test_few_queries_give_few_examples_and_none_gives_none():
    assert len(choose_examples(SETTINGS, *mined(2))) == 2
    negatives, positives = mined(1)
    assert choose_examples(SETTINGS, negatives.clear(), positives) == []


def test_examples_of_a_large_set_are_of_a_share_of_its_queries(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(examples, "MOST_QUERIES", 5)
    queries = pl.Series([f"q{number:02}" for number in range(20)])
    share = queries.filter(queries.hash() % 4 == 0)
    chosen = choose_examples(SETTINGS, *mined())
    assert sorted(row["query_id"] for row in chosen) == sorted(share)
    assert 0 < len(share) < 12


def test_texts_are_shortened_and_hold_no_markup_on_the_page():
    text = "![x](http://127.0.0.1/p.png) <b>a</b> | b\n\n# c \x1b[0m" + "d" * 1000
    shown = [Shown("positive", "", "d1", text, "", {"t": (0.5, 1)}), Shown("kept 1", "", "d2", "plain", "student", {})]
    page = examples_page([{"why": RANDOM, "query_id": "q", "doc_id": "d2"}], {"q": Asked("q", text, shown)})
    assert page.startswith(f"### 1. {RANDOM}\n\n**!&#91;x&#93;(http&#58;//127.0.0.1/p.png)")
    assert "\n| ➤ kept 1 | plain |  | found by student |" in page
    assert "| positive | " in page
    assert "t 0.500 (1)" in page
    for markup in ("](", "<b>", "\x1b", "d" * 300):
        assert markup not in page
