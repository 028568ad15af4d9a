import random
from functools import partial

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conan_assets.data.near_duplicates import (
    character_shingles,
    document_shingles,
    jaccard,
)
from conan_assets.data.near_duplicates import near_pairs as near_pairs_of_series
from conan_assets.data.near_duplicates import representatives as representatives_of_series
from conan_assets.data.settings import NearDuplicateSettings

SETTINGS = NearDuplicateSettings()
DOCUMENTS = partial(document_shingles, size=5)
QUERIES = partial(character_shingles, size=5)


def near_pairs(texts, shingles, settings):
    return near_pairs_of_series(pl.Series(texts, dtype=pl.String), shingles, settings)


def representatives(texts, shingles, settings):
    return representatives_of_series(pl.Series(texts, dtype=pl.String), shingles, settings)


def write_text(chance: random.Random, words: int = 80) -> str:
    return " ".join(f"word{chance.randrange(5_000)}" for _ in range(words))


def change_one_word(text: str, chance: random.Random) -> str:
    words = text.split()
    words[chance.randrange(len(words))] = "changed"
    return " ".join(words)


def test_planted_near_duplicates_are_found_and_nothing_else():
    chance = random.Random(0)
    texts = [write_text(chance) for _ in range(500)]
    planted = [change_one_word(text, chance) for text in texts[:200]]
    found = near_pairs([*texts, *planted], DOCUMENTS, SETTINGS)
    expected = {(position, 500 + position) for position in range(200)}
    assert len(expected & set(found)) >= 0.95 * len(expected)
    assert set(found) <= expected


def test_every_pair_reaches_the_threshold_exactly():
    chance = random.Random(1)
    texts = ["".join(chance.choice("ab ") for _ in range(30)) for _ in range(200)]
    for earlier, later in near_pairs(texts, QUERIES, SETTINGS):
        assert jaccard(QUERIES(texts[earlier]), QUERIES(texts[later])) >= SETTINGS.min_jaccard


def test_case_width_and_punctuation_make_no_difference():
    assert near_pairs(["Who purrs, and when?", "who ｐｕｒｒｓ and when"], QUERIES, SETTINGS) == [(0, 1)]


def test_chinese_documents_are_compared_by_characters():
    text = "猫在满足的时候会发出呼噜声，这种声音来自喉部肌肉的快速振动，也可能是在安抚自己。"
    assert near_pairs([text, text.replace("快速", "迅速"), "狗会对陌生人叫，也会看守房屋。"], DOCUMENTS, SETTINGS) == [
        (0, 1)
    ]


def test_a_chain_of_small_changes_does_not_remove_its_far_end():
    words = [f"w{number}" for number in range(100)]
    chain = [" ".join(["x"] * changed + words[changed:]) for changed in (0, 15, 30)]
    assert representatives(chain, DOCUMENTS, SETTINGS).tolist() == [0, 0, 2]


def test_a_thousand_copies_are_one_text():
    assert set(representatives(["the same text again and again"] * 1_000, DOCUMENTS, SETTINGS)) == {0}


@pytest.mark.parametrize("texts", [[], ["one"], ["", ""]])
def test_few_and_empty_texts_pass(texts):
    assert len(representatives(texts, DOCUMENTS, SETTINGS)) == len(texts)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(alphabet="ab c", max_size=30), max_size=20))
def test_a_representative_stands_for_itself_and_comes_first(texts):
    kept_for = representatives(texts, QUERIES, SETTINGS)
    assert (kept_for <= np.arange(len(texts))).all()
    assert (kept_for[kept_for] == kept_for).all()
