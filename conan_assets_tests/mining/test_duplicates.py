"""Texts equal or nearly equal to a positive are recognised, in both languages, and others are left alone."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conan_assets.mining.duplicates import DIFFERENT, EQUAL, NEAR, Shingles, compare_with_positives
from conan_assets.mining.groups import Groups

POSITIVE = "the quick brown fox jumps over the lazy dog while the small cat sleeps in the warm morning sun again"
CHINESE = "红楼梦是中国古典四大名著之一作者为曹雪芹全书共一百二十回"


def relation(positive: str, candidate: str, containment: float = 0.7, min_length: float = 0.5) -> int:
    shingles = Shingles.of(pl.Series([positive, candidate]))
    found = compare_with_positives(
        shingles, np.array([0]), np.array([1]), Groups.from_pairs([0], [0], 1), containment, min_length
    )
    return int(found[0])


@pytest.mark.parametrize(
    ("positive", "candidate", "expected"),
    [
        (POSITIVE, POSITIVE, EQUAL),
        (POSITIVE, POSITIVE.upper().replace(" ", "  "), EQUAL),
        (POSITIVE, POSITIVE.replace("lazy", "sleepy"), NEAR),
        (POSITIVE, f"{POSITIVE} {'and then a lot more was told about it ' * 5}", NEAR),
        (POSITIVE, " ".join(POSITIVE.split()[:14]), NEAR),
        (POSITIVE, " ".join(POSITIVE.split()[:5]), DIFFERENT),
        (POSITIVE, " ".join(sorted(POSITIVE.split())), DIFFERENT),
        (POSITIVE, "an entirely different sentence about the weather in spring", DIFFERENT),
        (CHINESE, CHINESE, EQUAL),
        (CHINESE, CHINESE.replace("古典", "古代"), NEAR),
        (CHINESE, "西游记讲述唐僧师徒四人西天取经的故事流传甚广影响深远", DIFFERENT),
        ("ab", "ab", EQUAL),
        ("ab", "cd", DIFFERENT),
        ("!!", "??", DIFFERENT),
    ],
)
def test_what_counts_as_equal_nearly_equal_and_different(positive, candidate, expected):
    assert relation(positive, candidate) == expected


def plainly(
    texts: list[str], query: int, candidate: int, positives: Groups, containment: float, min_length: float
) -> int:
    def trigrams(text: str) -> set[tuple[str, ...]]:
        words = text.lower().split()
        return {tuple(words[i : i + 3]) for i in range(max(len(words) - 2, min(len(words), 1)))}

    verdict = DIFFERENT
    own = trigrams(texts[candidate])
    for positive in positives[query]:
        reference = trigrams(texts[positive])
        common = len(own & reference)
        held = common >= containment * len(own) and len(own) >= min_length * len(reference)
        if texts[candidate] == texts[positive]:
            return EQUAL
        if common and (common >= containment * len(reference) or held):
            verdict = NEAR
    return verdict


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_vectorised_comparison_is_the_plain_one(data):
    word = st.sampled_from(["alpha", "beta", "gamma"])
    texts = data.draw(st.lists(st.lists(word, min_size=1, max_size=12).map(" ".join), min_size=3, max_size=12))
    position = st.integers(0, len(texts) - 1)
    judged = data.draw(st.lists(st.tuples(st.integers(0, 3), position), min_size=1, max_size=8))
    positives = Groups.from_pairs(np.array([q for q, _ in judged]), np.array([d for _, d in judged]), 4)
    rows = sorted(data.draw(st.lists(st.tuples(st.integers(0, 3), position), max_size=20)))
    queries, documents = np.array([q for q, _ in rows], int), np.array([d for _, d in rows], int)
    found = compare_with_positives(Shingles.of(pl.Series(texts)), queries, documents, positives, 0.7, 0.5)
    assert found.tolist() == [plainly(texts, q, d, positives, 0.7, 0.5) for q, d in rows]


def test_chunks_of_any_size_give_the_same_verdicts(monkeypatch):
    generator = np.random.default_rng(0)
    texts = pl.Series([" ".join(generator.choice(["a", "b", "c", "d"], 8)) for _ in range(60)])
    queries = np.repeat(np.arange(20), 15)
    documents = generator.integers(60, size=300)
    positives = Groups.from_pairs(np.repeat(np.arange(20), 2), generator.integers(60, size=40), 20)
    whole = compare_with_positives(Shingles.of(texts), queries, documents, positives, 0.5, 0.5)
    monkeypatch.setattr("conan_assets.mining.duplicates.SHINGLES_PER_CHUNK", 50)
    np.testing.assert_array_equal(
        whole, compare_with_positives(Shingles.of(texts), queries, documents, positives, 0.5, 0.5)
    )
    assert {DIFFERENT, NEAR} <= set(whole.tolist())
