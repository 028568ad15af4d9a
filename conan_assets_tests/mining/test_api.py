"""Frames in, a frame out: mining without Dagster and without a profile."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from conan_assets.data.tables import NEGATIVES, TableError, check_table
from conan_assets.mining.api import Embedded, mine, training_examples
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


def test_frames_of_pandas_datasets_and_arrow_give_the_same(frames):
    queries, corpus, positives = frames
    mined = mine(queries, corpus, positives)
    assert mine(queries.to_pandas(), Dataset.from_polars(corpus), positives.to_arrow()).equals(mined)
    with pytest.raises(MiningError, match="queries is a list: give a frame"):
        mine(["how"], corpus, positives)


def test_integer_ids_come_back_as_integers_and_join(frames):
    queries = frames[0].with_columns(query_id=pl.Series([7, 8, 9]))
    corpus = frames[1].cast({"doc_id": pl.Int64})
    positives = pl.DataFrame({"query_id": [7, 8], "doc_id": [0, 3]})
    mined = mine(queries, corpus, positives)
    assert mined.join(corpus, on="doc_id").join(queries, on="query_id").height == mined.height > 0


def test_as_many_negatives_are_kept_as_are_asked_for(frames):
    negatives = mine(*frames, rule="top_k", settings=MiningSettings(negatives_per_query=2))
    assert negatives.filter(KEPT).group_by("query_id").len()["len"].to_list() == [2, 2]
    deeper = mine(*frames, rule="top_k", settings=MiningSettings(negatives_per_query=2, pool_depth=3))
    assert deeper.filter(KEPT).height > 4


def test_queries_with_too_few_negatives_are_named_with_the_reason(frames, caplog):
    queries, corpus, positives = frames
    queries = pl.concat([queries, pl.DataFrame({"query_id": ["z"], "text": ["zzz"]})])
    positives = pl.concat([positives, pl.DataFrame({"query_id": ["z"], "doc_id": ["1"]})])
    mine(queries, corpus, positives, ratio=0.5, settings=MiningSettings(negatives_per_query=2))
    assert "queries have fewer than 2 negatives" in caplog.text
    assert "query unjudged: no positive, so nothing was mined" in caplog.text
    assert "query z: no candidate was found" in caplog.text
    assert "candidates kept, most others removed by student:top_k_perc_pos" in caplog.text


def test_progress_is_shown_where_nobody_set_up_logging(frames):
    code = (
        "import polars as pl; from conan_assets import mine\n"
        "frames = [pl.DataFrame(frame) for frame in (\n"
        "    {'query_id': ['q'], 'text': ['apple']}, {'doc_id': [*'abcd'], 'text': ['apple'] * 4},\n"
        "    {'query_id': ['q'], 'doc_id': ['a']})]\n"
        "mine(*frames)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "searching queries: 1 of 1" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"queries": {"text": ["apple pie", None, "red"]}}, r"queries: row 2 \(query_id 'b'\): column text is empty"),
        ({"queries": {"query_id": ["a", "b", "a"]}}, r"queries: row 3 .*column query_id \('a'\) occurs twice"),
        ({"positives": {"doc_id": ["0", None]}}, r"positives: row 2 .*column doc_id is empty"),
        ({"corpus": {"text": [["a"]] * 7}}, r"corpus: row 1: column text holds a list, not a text"),
    ],
)
def test_what_is_wrong_in_a_frame_is_named_with_its_row(frames, changed, message):
    given = dict(zip(("queries", "corpus", "positives"), frames, strict=True))
    for name, columns in changed.items():
        given[name] = given[name].with_columns(**{column: pl.Series(cells) for column, cells in columns.items()})
    with pytest.raises(TableError, match=message):
        mine(**given)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"ration": 0.9}, r"rule 'top_k_perc_pos' with \{'ration': 0.9\}.*ration: Extra inputs"),
        ({"ratio": 3}, "ratio: Input should be less than or equal to 1"),
        ({"rule": "top_p"}, "expected tags: 'top_k'"),
    ],
)
def test_a_wrong_parameter_is_named_with_its_rule(frames, parameters, message):
    with pytest.raises(MiningError, match=message) as error:
        mine(*frames, **parameters)
    assert "http" not in str(error.value)


@pytest.mark.parametrize(
    ("layout", "first"),
    [
        ("triplet", {"anchor": "blue sky", "positive": "blue sky", "negative": "blue sea and sky"}),
        ("n_tuple", {"anchor": "blue sky", "positive": "blue sky", "negative_1": "blue sea and sky"}),
        ("nemo", {"query": "blue sky", "pos_doc": ["blue sky"], "neg_doc": ["blue sea and sky"]}),
    ],
)
def test_what_was_mined_becomes_examples_with_texts_for_other_trainers(frames, layout, first, tmp_path):
    negatives = mine(*frames, rule="top_k", settings=MiningSettings(negatives_per_query=1))
    examples = training_examples(negatives, *frames, layout=layout, count=1)
    assert examples[1] == first
    examples.to_json(tmp_path / "train.jsonl", force_ascii=False)
    assert json.loads((tmp_path / "train.jsonl").read_text().splitlines()[1]) == first


def test_examples_that_cannot_be_made_are_refused(frames):
    negatives = mine(*frames)
    with pytest.raises(ValueError, match="give count"):
        training_examples(negatives, *frames, layout="n_tuple")
    with pytest.raises(ValueError, match="no query has 50 negatives"):
        training_examples(negatives, *frames, layout="n_tuple", count=50)
    with pytest.raises(ValueError, match="layouts are triplet"):
        training_examples(negatives, *frames, layout="csv")


def test_cells_of_several_types_in_a_frame_of_pandas_are_texts(frames):
    queries, corpus, positives = (frame.to_pandas().astype(object) for frame in frames)
    queries.loc[0, "query_id"], positives.loc[0, "query_id"] = 7, 7
    corpus["note"] = [[1], "two", *[None] * 5]
    found = mine(queries, corpus, positives)
    assert set(found["query_id"]) == {"7", "b"}
    assert found.height == mine(*frames).height


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([["red"], "blue", "sky"], "queries: row 1: column text holds a list, not a text"),
        (["red", b"blue", "sky"], "queries: row 2: column text holds bytes, not a text"),
    ],
)
def test_what_is_no_text_in_a_frame_of_pandas_is_named_with_its_row(frames, cells, message):
    queries = frames[0].to_pandas().astype(object).assign(text=pd.Series(cells, dtype=object))
    with pytest.raises(TableError, match=message):
        mine(queries, *frames[1:])


def test_a_column_that_a_frame_of_pandas_has_twice_is_named(frames):
    queries = pd.concat([frames[0].to_pandas(), frames[0].to_pandas()["text"]], axis=1)
    with pytest.raises(MiningError, match="queries: the column 'text' is there twice"):
        mine(queries, *frames[1:])


@pytest.mark.parametrize("teacher", [None, 3, {"kind": "bm25"}])
def test_what_is_no_teacher_is_named(frames, teacher):
    with pytest.raises(MiningError, match=f"teacher is a {type(teacher).__name__}: give"):
        mine(*frames, teacher=teacher)


def test_embeddings_that_do_not_fit_are_refused(frames, tmp_path):
    def refused(queries: object, documents: object, message: str) -> None:
        with pytest.raises(MiningError, match=message):
            mine(*frames, teacher=Embedded(queries, documents))

    rows = np.ones((7, 4), np.float32)
    refused(rows[:3], rows[:, :3], "of queries have 4 components, those of documents 3: encode both with one model")
    refused(rows[:3, 0], rows, r"embeddings are rows of numbers, and the array has the shape \(3,\)")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object))
    np.savez(tmp_path / "several.npz", rows)
    np.save(tmp_path / "cut.npy", rows)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-4])
    (tmp_path / "empty.npy").touch()
    for name in ("objects.npy", "several.npz", "cut.npy", "empty.npy", "missing.npy"):
        refused(rows[:3], tmp_path / name, f"{name} is no .npy file of numbers that can be read")
