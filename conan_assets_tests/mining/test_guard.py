"""Texts equal or nearly equal to a positive, and the query itself, are recognised; others are left alone."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conan_assets.mining.candidates import Candidates
from conan_assets.mining.collection import Collection
from conan_assets.mining.guard import DIFFERENT, EQUAL, NEAR, Guard
from conan_assets.mining.settings import DuplicateGuard
from conan_assets.search.groups import Groups

POSITIVE = "the quick brown fox jumps over the lazy dog while the small cat sleeps in the warm morning sun again"
CHINESE = "红楼梦是中国古典四大名著之一作者为曹雪芹全书共一百二十回"


def collect(texts: list[str], positives: Groups, queries: list[str] | None = None, **ids: list[str]) -> Collection:
    queries = queries or [f"question {number}" for number in range(len(positives.counts))]
    return Collection(
        dataset="made",
        doc_ids=pl.Series(ids.get("doc_ids", [f"d{number}" for number in range(len(texts))])),
        texts=pl.Series(texts),
        corpus_size=len(texts),
        judged=pl.LazyFrame(
            {
                "query_id": ids.get("query_ids", [f"q{number}" for number in range(len(queries))]),
                "query": queries,
                "positives": [positives[row].tolist() for row in range(len(queries))],
                "irrelevant": [[] for _ in queries],
            },
            schema_overrides=dict.fromkeys(("positives", "irrelevant"), pl.List(pl.UInt32)),
        ),
        size=len(queries),
    )


def relations(
    texts: list[str], positives: Groups, queries: np.ndarray, documents: np.ndarray, containment: float = 0.7
) -> list[int]:
    guard = Guard(DuplicateGuard(containment=containment), pl.Series(texts))
    return guard.relation_to_positives(positives, queries, documents).tolist()


def relation(positive: str, candidate: str, containment: float = 0.7) -> int:
    judged = Groups.from_pairs([0], [0], 1)
    return relations([positive, candidate], judged, np.array([0]), np.array([1]), containment)[0]


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


@pytest.mark.parametrize("other", ["C#", "C"])
def test_names_that_differ_in_their_symbols_alone_stay_true_negatives(other):
    question = "How to reverse a list of numbers in {} without a copy"
    assert relation(question.format("C++"), question.format(other), 0.85) == DIFFERENT
    assert relation(question.format("C++"), question.format("c++"), 0.85) == EQUAL


def test_a_name_within_chinese_is_a_word_of_its_own():
    assert relation("使用Python语言反转一个列表", "使用Rust语言反转一个列表") == DIFFERENT


def reasons(queries: list[str], texts: list[str], **ids: list[str]) -> list[str | None]:
    positives = Groups.from_pairs(range(len(queries)), range(len(queries)), len(queries))
    collection = collect(texts, positives, queries, **ids)
    rows = np.repeat(np.arange(len(queries)), len(texts))
    documents = np.tile(np.arange(len(texts)), len(queries))
    candidates = Candidates(rows, documents, documents + 1, np.zeros(len(rows), bool), {})
    Guard(DuplicateGuard(), collection.texts).check(collection, candidates)
    return candidates.verdicts.reasons().to_list()


def test_a_copy_of_the_query_is_no_negative_of_it():
    texts = ["They do not; they limit expression.", "School  UNIFORMS help pupils", "nuclear power is safe"]
    assert reasons(["school uniforms help pupils"], texts) == ["equal_to_positive", "equal_to_query", None]


def test_a_document_with_the_id_of_the_query_is_the_query_only_if_it_holds_its_text():
    texts = ["They limit expression.", "It is not clean.", "Schools: school uniforms help", "fossil fuels are safe"]
    found = reasons(
        ["school uniforms help", "nuclear power is safe"],
        texts,
        query_ids=["x:1", "x:2"],
        doc_ids=["a", "b", "x:1", "x:2"],
    )
    assert found[2] == "equal_to_query"
    assert found[4 + 3] is None


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
    found = relations(texts, positives, queries, documents)
    assert found == [plainly(texts, q, d, positives, 0.7, 0.5) for q, d in rows]


def test_chunks_of_any_size_give_the_same_verdicts(monkeypatch):
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(["a", "b", "c", "d"], 8)) for _ in range(60)]
    queries = np.repeat(np.arange(20), 15)
    documents = generator.integers(60, size=300)
    positives = Groups.from_pairs(np.repeat(np.arange(20), 2), generator.integers(60, size=40), 20)
    whole = relations(texts, positives, queries, documents, 0.5)
    monkeypatch.setattr("conan_assets.mining.guard.SHINGLES_PER_CHUNK", 50)
    assert relations(texts, positives, queries, documents, 0.5) == whole
    assert {DIFFERENT, NEAR} <= set(whole)
