"""Frames in, a frame out: mining without Dagster and without a profile."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conan_assets.data.tables import NEGATIVES, TableError, check_table
from conan_assets.mining.api import Embedded, mine
from conan_assets.mining.collection import MiningError
from conan_assets.mining.rules import RULES
from conan_assets.mining.settings import MiningSettings

KEPT = pl.col("verdict") == "kept"


@pytest.fixture
def frames():
    documents = [
        "red apple pie",
        "red apple cake",
        "green apple pie",
        "blue sky",
        "blue sea and sky",
        "the red sky",
        "a pie",
    ]
    queries = pl.DataFrame({"query_id": ["a", "b", "unjudged"], "text": ["apple pie", "blue sky", "red"]})
    corpus = pl.DataFrame({"doc_id": [str(i) for i in range(7)], "text": documents})
    return queries, corpus, pl.DataFrame({"query_id": ["a", "b"], "doc_id": ["0", "3"]})


def test_ten_lines_are_enough(frames):
    queries, corpus, positives = frames
    negatives = mine(queries, corpus, positives, teacher="bm25", rule="top_k_perc_pos", ratio=0.95)
    check_table(negatives, NEGATIVES, "negatives")
    assert set(negatives["query_id"]) == {"a", "b"}
    assert negatives.join(positives, on=["query_id", "doc_id"], how="semi").is_empty()
    assert negatives.filter(KEPT).height > 0


@pytest.mark.parametrize("rule", ["top_k", "top_k_shifted", "top_k_abs", "top_k_margin_pos", "top_k_perc_pos"])
def test_every_rule_is_there_by_name(frames, rule):
    assert mine(*frames, rule=rule).height == mine(*frames, rule="top_k").height


def test_a_bi_encoder_by_its_folder(frames, tiny_model, tmp_path):
    negatives = mine(*frames, teacher=tiny_model, rule="top_k", cache=tmp_path)
    assert negatives.group_by("query_id").len()["len"].to_list() == [6, 6]
    assert list(tmp_path.rglob("*.npy"))


def test_embeddings_that_are_there_already_as_arrays_and_as_files(frames, tmp_path):
    generator = np.random.default_rng(0)
    arrays = [generator.normal(size=(rows, 4)).astype(np.float32) for rows in (3, 7)]
    for name, values in zip(("queries", "documents"), arrays, strict=True):
        np.save(tmp_path / f"{name}.npy", values)
    from_arrays = mine(*frames, teacher=Embedded(*arrays), rule="top_k")
    from_files = mine(*frames, teacher=Embedded(tmp_path / "queries.npy", tmp_path / "documents.npy"), rule="top_k")
    assert from_arrays.equals(from_files)
    row = from_arrays.filter(pl.col("query_id") == "b").row(0, named=True)
    assert row["student_score"] == pytest.approx(float((arrays[1] @ arrays[0][1])[[0, 1, 2, 4, 5, 6]].max()))


def test_settings_give_everything_else(frames):
    negatives = mine(*frames, rule="top_k", settings=MiningSettings(pool_depth=1, negatives_per_query=1))
    assert negatives.filter(KEPT).group_by("query_id").len()["len"].to_list() == [1, 1]


def test_the_order_of_rows_does_not_change_what_is_kept(frames):
    queries, corpus, positives = frames
    one = mine(queries, corpus, positives).filter(KEPT).select("query_id", "doc_id")
    other = mine(queries[::-1], corpus[::-1], positives[::-1]).filter(KEPT).select("query_id", "doc_id")
    assert set(one.rows()) == set(other.rows())


def test_bad_input_is_named(frames):
    queries, corpus, positives = frames
    with pytest.raises(TableError, match=r"corpus.*lacks the column 'text'"):
        mine(queries, corpus.drop("text"), positives)
    with pytest.raises(MiningError, match="query 'x' is not among the queries"):
        mine(queries, corpus, pl.DataFrame({"query_id": ["x"], "doc_id": ["0"]}))
    with pytest.raises(MiningError, match="document 'x'"):
        mine(queries, corpus, pl.DataFrame({"query_id": ["a"], "doc_id": ["x"]}))
    with pytest.raises(MiningError, match="2 queries and 7 documents for 3 queries"):
        mine(queries, corpus, positives, teacher=Embedded(np.zeros((2, 4), np.float32), np.zeros((7, 4), np.float32)))
    with pytest.raises(ValueError, match="top_p"):
        mine(queries, corpus, positives, rule="top_p")


WORD = st.sampled_from(["red", "green", "apple", "pie", "sky", "sea"])
TEXT = st.lists(WORD, min_size=1, max_size=6).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(TEXT, min_size=4, max_size=25),
    st.lists(TEXT, min_size=1, max_size=5),
    st.sampled_from(sorted(RULES)),
    st.sampled_from(["keep", "drop", "resample"]),
    st.integers(1, 4),
    st.data(),
)
def test_no_positive_is_ever_a_negative_no_id_stands_twice_and_shortage_is_kept_or_dropped(
    documents, texts, rule, on_shortage, needed, data
):
    count = len(documents)
    judged = data.draw(
        st.sets(st.tuples(st.integers(0, len(texts) - 1), st.integers(0, count - 1)), min_size=1, max_size=count)
    )
    queries = pl.DataFrame({"query_id": [f"q{i}" for i in range(len(texts))], "text": texts})
    corpus = pl.DataFrame({"doc_id": [f"d{i}" for i in range(count)], "text": documents})
    positives = pl.DataFrame(
        [(f"q{q}", f"d{d}") for q, d in sorted(judged)], schema=["query_id", "doc_id"], orient="row"
    )
    base = MiningSettings(on_shortage=on_shortage, negatives_per_query=needed)
    negatives = mine(queries, corpus, positives, rule=rule, settings=base)

    ids = negatives.select("query_id", "doc_id")
    kept = negatives.filter(KEPT)
    equal_texts = positives.join(corpus, on="doc_id").select("query_id", "text")
    assert ids.join(positives, on=["query_id", "doc_id"], how="semi").is_empty()
    assert not ids.is_duplicated().any()
    assert kept.join(corpus, on="doc_id").join(equal_texts, on=["query_id", "text"], how="semi").is_empty()
    counts = kept.group_by("query_id").len()["len"]
    assert on_shortage != "drop" or (counts >= needed).all()
