import logging

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from conan_assets.data.tables import WRITTEN_PAIRS
from conan_assets.synthesis.extractive import split_sentences
from conan_assets.synthesis.generation import generate_pairs
from conan_assets.synthesis.settings import ExtractiveGeneration, NoGeneration
from conan_assets_tests.data.frames import make_corpus, make_pairs

CORPUS = make_corpus(
    "Cats purr when they are content. They sleep for most of the day. Few of them like water.",
    "Dogs bark at strangers and at the moon. Some of them guard houses and some of them herd sheep.",
    "Birds sing at dawn, before anybody else is awake. They stop when the sun is high above the trees.",
)
PAIRS_OF_CORPUS = make_pairs({"query": "who purrs", "doc_id": "wiki:d1"})
SETTINGS = ExtractiveGeneration(kind="extractive", min_sentence_chars=10)


def test_a_query_is_a_sentence_of_the_passage_it_points_to(tmp_path):
    pairs, report = generate_pairs(SETTINGS, CORPUS, PAIRS_OF_CORPUS, tmp_path)
    assert pairs.height == 3
    assert set(pairs["origin"]) == {"extractive"}
    joined = pairs.join(CORPUS.select("doc_id", passage="text"), on="doc_id")
    assert all(query in passage for query, passage in joined.select("query", "passage").iter_rows())
    assert report["pairs"] == 3


def test_the_report_and_the_log_say_that_no_model_wrote_the_pairs(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="conan_assets"):
        _, report = generate_pairs(SETTINGS, CORPUS, PAIRS_OF_CORPUS, tmp_path)
    assert "inverse cloze" in report["note"]
    assert "inverse cloze" in caplog.text


def test_the_seed_chooses_and_the_same_seed_chooses_the_same(tmp_path):
    one = SETTINGS.model_copy(update={"max_pairs": 1})
    chosen = {
        seed: generate_pairs(one.model_copy(update={"seed": seed}), CORPUS, PAIRS_OF_CORPUS, tmp_path)[0][
            "query"
        ].item()
        for seed in (*range(6), 0)
    }
    again = generate_pairs(one, CORPUS, PAIRS_OF_CORPUS, tmp_path)[0]["query"].item()
    assert chosen[0] == again
    assert len(set(chosen.values())) > 1


def test_more_pairs_begin_with_the_same_pairs(tmp_path):
    few, more = (
        generate_pairs(SETTINGS.model_copy(update={"max_pairs": n}), CORPUS, PAIRS_OF_CORPUS, tmp_path)[0]
        for n in (1, 3)
    )
    assert more.head(1).equals(few)


def test_passages_that_are_judged_by_and_datasets_that_do_not_train_are_left_out(tmp_path):
    other = make_corpus("A shop sells fresh bread. It opens at seven in the morning.", dataset="shops")
    pairs = pl.concat(
        [
            PAIRS_OF_CORPUS,
            make_pairs(
                {"query": "who barks", "doc_id": "wiki:d2", "split": "test"},
                {"query": "who sells bread", "doc_id": "shops:d1", "split": "test", "dataset": "shops"},
            ),
        ]
    )
    written, _ = generate_pairs(SETTINGS, pl.concat([CORPUS, other]), pairs, tmp_path)
    assert set(written["doc_id"]) == {"wiki:d1", "wiki:d3"}


def test_a_passage_of_one_sentence_gives_no_pair(tmp_path):
    written, report = generate_pairs(SETTINGS, make_corpus("Cats purr when content."), PAIRS_OF_CORPUS, tmp_path)
    assert written.height == 0
    assert report["passages_without_usable_sentence"] == 1


def test_the_generator_none_writes_nothing(tmp_path):
    pairs, report = generate_pairs(NoGeneration(kind="none"), CORPUS, PAIRS_OF_CORPUS, tmp_path)
    assert pairs.schema == dict(WRITTEN_PAIRS.columns)
    assert (pairs.height, report["pairs"]) == (0, 0)


def test_chinese_sentences_end_at_chinese_marks():
    assert split_sentences("猫会打呼噜。狗会叫！鸟呢？") == ["猫会打呼噜。", "狗会叫！", "鸟呢？"]


@given(st.text())
def test_sentences_hold_every_word_of_the_text_in_order(text):
    assert "".join("".join(split_sentences(text)).split()) == "".join(text.split())
