import random
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conan_assets.data import near_duplicates, near_shards
from conan_assets.data.blocks import TextFile, blocks_by_size
from conan_assets.data.curation_settings import NearDuplicateSettings
from conan_assets.data.near_duplicates import ComparedTexts
from conan_assets.data.shingles import Shingles, characters, words

SETTINGS = NearDuplicateSettings()


def compare(function, texts, terms, *arguments, salts=None):
    with tempfile.TemporaryDirectory() as folder:
        file = TextFile(Path(folder) / "texts")
        file.append(pl.Series(texts, dtype=pl.String))
        return function(ComparedTexts(file, np.arange(len(texts)), terms, salts), *arguments, SETTINGS)


def near_pairs(texts, terms, salts=None):
    earlier, later = compare(near_duplicates.near_pairs, texts, terms, salts=salts)
    return list(zip(earlier.tolist(), later.tolist(), strict=True))


def representatives(texts, terms):
    return compare(near_duplicates.representatives, texts, terms)


def similarity(one: str, other: str, terms) -> float:
    found = Shingles.of(terms(pl.Series([one, other])), SETTINGS.ngram)
    common = found.common(np.array([0]), np.array([1]))
    return float(common[0] / (found.sizes.sum() - common[0]))


def write_text(chance: random.Random, count: int = 80) -> str:
    return " ".join(f"word{chance.randrange(5_000)}" for _ in range(count))


def change_one_word(text: str, chance: random.Random) -> str:
    changed = text.split()
    changed[chance.randrange(len(changed))] = "changed"
    return " ".join(changed)


def test_planted_near_duplicates_are_found_and_nothing_else():
    chance = random.Random(0)
    texts = [write_text(chance) for _ in range(500)]
    planted = [change_one_word(text, chance) for text in texts[:200]]
    found = near_pairs([*texts, *planted], words)
    expected = {(position, 500 + position) for position in range(200)}
    assert len(expected & set(found)) >= 0.95 * len(expected)
    assert set(found) <= expected


def test_the_work_done_in_blocks_is_the_same_as_at_once(monkeypatch):
    chance = random.Random(2)
    texts = [write_text(chance, 20) for _ in range(60)]
    texts += [change_one_word(text, chance) for text in texts]
    at_once = near_pairs(texts, characters)
    monkeypatch.setattr(near_shards, "BLOCK_BYTES", 400)
    assert at_once
    assert near_pairs(texts, characters) == at_once


def test_every_pair_reaches_the_threshold_exactly():
    chance = random.Random(1)
    texts = ["".join(chance.choice("abcd ") for _ in range(60)) for _ in range(100)]
    texts += [
        text[:place] + "x" * width + text[place + width :] for text in texts for place, width in ((9, 1), (30, 5))
    ]
    found = near_pairs(texts, characters)
    assert 100 <= len(found) < 200, "one changed character stays above the threshold, five do not"
    for earlier, later in found:
        assert similarity(texts[earlier], texts[later], characters) >= SETTINGS.min_jaccard


def test_case_width_and_punctuation_make_no_difference():
    assert near_pairs(["Who purrs, and when?", "who ｐｕｒｒｓ and when"], characters) == [(0, 1)]


def test_chinese_documents_are_compared_by_characters():
    text = "猫在满足的时候会发出呼噜声，这种声音来自喉部肌肉的快速振动，也可能是在安抚自己。"
    texts = [text, text.replace("快速", "迅速"), "狗会对陌生人叫，也会看守房屋。"]
    assert near_pairs(texts, words) == [(0, 1)]


def test_texts_with_different_salts_are_never_near():
    assert near_pairs(["the same text"] * 3, characters, np.array([1, 2, 1], np.uint64)) == [(0, 2)]


def test_known_texts_are_found_among_the_others_and_the_others_are_not_compared():
    texts = ["what does a cat eat", "who barks at night", "what does a cat eat?", "what does a cat eat!"]
    known, other = compare(near_duplicates.near_to_known, texts, characters, 2)
    assert list(zip(known.tolist(), other.tolist(), strict=True)) == [(0, 2), (0, 3)]


def test_a_chain_of_small_changes_does_not_remove_its_far_end():
    line = [f"w{number}" for number in range(100)]
    chain = [" ".join(["x"] * changed + line[changed:]) for changed in (0, 15, 30)]
    assert representatives(chain, words).tolist() == [0, 0, 2]


def test_a_thousand_copies_are_one_text():
    assert set(representatives(["the same text again and again"] * 1_000, words)) == {0}


@pytest.mark.parametrize("texts", [[], ["one"], ["", ""]])
def test_few_and_empty_texts_pass(texts):
    assert len(representatives(texts, words)) == len(texts)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(alphabet="ab c", max_size=30), max_size=20))
def test_a_representative_stands_for_itself_and_comes_first(texts):
    kept_for = representatives(texts, characters)
    assert (kept_for <= np.arange(len(texts))).all()
    assert (kept_for[kept_for] == kept_for).all()


def plain_shingles(text: str, size: int = 5) -> set[str]:
    return {text[start : start + size] for start in range(max(len(text) - size + 1, 1))}


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="abc", max_size=30), st.text(alphabet="abc", max_size=30))
def test_hashed_shingles_have_the_similarity_of_the_texts_themselves(one, other):
    first, second = plain_shingles(one), plain_shingles(other)
    assert similarity(one, other, characters) == pytest.approx(len(first & second) / len(first | second))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.text(max_size=12), max_size=5), max_size=4))
def test_a_text_file_gives_back_every_text_in_any_order(parts):
    texts = [text for part in parts for text in part]
    with tempfile.TemporaryDirectory() as folder:
        file = TextFile(Path(folder) / "texts")
        for part in parts:
            file.append(pl.Series(part, dtype=pl.String))
        backwards = np.arange(len(texts))[::-1]
        assert len(file) == len(texts)
        assert file.gather(backwards).to_list() == texts[::-1]
        assert file.sizes(backwards).tolist() == [len(text.encode()) for text in texts[::-1]]


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 60))
def test_blocks_cover_everything_once_and_stay_within_their_limit(sizes, limit):
    blocks = list(blocks_by_size(np.array(sizes, dtype=np.int64), limit))
    assert [place for block in blocks for place in range(block.start, block.stop)] == list(range(len(sizes)))
    assert all(sum(sizes[block]) <= limit or block.stop - block.start == 1 for block in blocks)
