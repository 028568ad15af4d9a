import polars as pl
import pytest

from conan_assets.data.tables import CORPUS, DOCUMENT_TEXT, PAIRS, TableError, check_table
from conan_assets_tests.data.frames import make_corpus, make_pairs


def test_a_table_comes_back_in_order_and_type_with_its_extra_columns_last():
    frame = make_corpus("x").select(pl.lit(1).alias("extra"), "text", "title", "dataset", "doc_id")
    assert check_table(frame, CORPUS, "here").columns == ["doc_id", "dataset", "title", "text", "extra"]
    pairs = make_pairs({"query": "x"}).cast({"score": pl.Float64})
    assert check_table(pairs, PAIRS, "here").schema == dict(PAIRS.columns)


def test_a_value_outside_its_choices_is_named_with_its_row():
    with pytest.raises(TableError, match=r"here: row 2 \(pair_id 'p2'\): column split \('eval'\) must be one of train"):
        check_table(make_pairs({"query": "x"}, {"query": "y", "split": "eval"}), PAIRS, "here")


def test_a_column_of_lists_is_no_text():
    with pytest.raises(TableError, match="here: row 1: column text holds a list, not a text"):
        check_table(make_corpus("x").with_columns(text=pl.lit(["x"])), CORPUS, "here")


def test_an_empty_table_passes():
    assert check_table(make_corpus(), CORPUS, "here").height == 0


def test_the_text_of_a_document_is_its_title_before_its_text():
    corpus = pl.DataFrame({"title": ["Cats", "", None], "text": ["purr", "sing", "bark"]})
    assert corpus.select(DOCUMENT_TEXT.alias("text"))["text"].to_list() == ["Cats purr", "sing", "bark"]
