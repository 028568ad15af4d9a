"""Tables are written and read some queries at a time, and hold what they would hold if all were done at once."""

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from conan_assets.cleaning import TABLE
from conan_assets.mining import collection, parts
from conan_assets.mining.figures import Histogram
from conan_assets.mining.parts import TableReader, TableWriter, parts_of
from conan_assets.mining.settings import MiningSettings
from conan_assets.search import exact
from conan_assets.search.settings import BM25Teacher
from conan_assets_tests.mining.conftest import mine_round, score


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of seven queries, two of which are searched at once."""
    monkeypatch.setattr(collection, "QUERIES_PER_PART", 7)
    monkeypatch.setattr(collection, "PARTS_PER_SEARCH", 2)


def test_every_part_is_a_row_group_and_comes_back_as_it_was_written(tmp_path):
    types = {"query_id": pl.String, "rank": pl.Int64}
    rows = ({"query_id": [f"q{i}"] * size, "rank": range(size)} for i, size in enumerate((3, 0, 2)))
    written = [pl.DataFrame(part, schema=types) for part in rows]
    with TableWriter(tmp_path / TABLE) as table:
        for part in written:
            table.add(part)
    assert pq.ParquetFile(tmp_path / TABLE).num_row_groups == 3
    assert all(read.equals(part) for read, part in zip(parts_of(tmp_path / TABLE), written, strict=True))
    assert pl.read_parquet(tmp_path / TABLE).equals(pl.concat(written))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 30), max_size=60), st.sets(st.integers(0, 33)), st.booleans(), st.integers(1, 40))
def test_the_rows_of_any_queries_are_found_whatever_the_order_of_the_table(rows, asked, is_sorted, most):
    columns = {"query_id": [f"q{row}" for row in rows], "row": range(len(rows))}
    table = pl.DataFrame(columns, schema={"query_id": pl.String, "row": pl.Int64})
    table = table.sort(pl.col("query_id").hash() // 2**60) if is_sorted else table  # in blocks of like hashes
    wanted = pl.Series([f"q{number}" for number in asked], dtype=pl.String)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(parts, "FEWEST_PER_BLOCK", 2)
        patched.setattr(parts, "MOST_PER_BLOCK", most)
        found = TableReader(table.lazy()).rows_of(wanted)
    assert found.equals(table.filter(pl.col("query_id").is_in(wanted.implode())))


def test_a_table_in_the_order_of_hashes_is_read_in_blocks_and_little_of_it():
    table = pl.DataFrame({"query_id": [f"q{number}" for number in range(1_000)]}).sort(pl.col("query_id").hash())
    reader = TableReader(table.lazy())
    lowest, highest, first, last = reader._blocks
    assert len(lowest) == 16
    assert (lowest <= highest).all()
    assert first.tolist() == [0, *(last[:-1] + 1).tolist()]
    assert reader.rows_of(table["query_id"][500:502]).equals(table[500:502])


def test_parts_of_any_size_give_the_same_teachers_table_and_report(corpus, pairs, store, tmp_path, request):
    teacher = BM25Teacher(depth=10, calibrate=True, calibration={"min_judgements": 5})
    whole, report = score(teacher, "bm25", corpus, pairs, store, tmp_path / "whole")
    request.getfixturevalue("small_parts")
    some, of_parts = score(teacher, "bm25", corpus, pairs, store, tmp_path / "parts")
    assert some.sort("query_id", "doc_id").equals(whole.sort("query_id", "doc_id"))
    assert of_parts | {"seconds": 0} == report | {"seconds": 0}
    assert pq.ParquetFile(tmp_path / "parts" / TABLE).num_row_groups == 5


def test_pairs_that_are_read_a_slice_at_a_time_make_the_same_queries_with_the_same_judgements(
    corpus, pairs, tmp_path, monkeypatch
):
    def judged(folder):
        folder.mkdir()
        (found,) = collection.collections(corpus.lazy(), pairs.lazy(), folder)
        return {
            (query_id, query): (
                found.doc_ids[found.positives[i]].to_list(),
                found.doc_ids[found.irrelevant[i]].to_list(),
            )
            for i, (query_id, query) in enumerate(zip(found.query_ids, found.queries, strict=True))
        }

    whole = judged(tmp_path / "whole")
    monkeypatch.setattr(collection, "PAIRS_PER_SLICE", 7)
    slices = judged(tmp_path / "slices")
    assert slices == whole
    assert len(whole) > 14
    monkeypatch.setattr(collection, "PAIRS_PER_SLICE", 11)
    assert list(judged(tmp_path / "fewer")) == list(slices)  # tables of other pairs are read from one place


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"candidates": ["student", "bm25"], "veto": [{"teacher": "bm25", "rule": "top_k_perc_pos"}]},
        {"ensemble": {"rule": "intra_sample", "teachers": ["student", "bm25"]}, "candidates": ["bm25"]},
        {"refresh": {"mode": "pool", "drift_documents": 0.5}},
    ],
)
def test_parts_of_any_size_give_the_same_negatives_and_report(
    options, encoder, corpus, pairs, store, bm25, tmp_path, request
):
    def mine(name: str, previous: pl.DataFrame | None) -> tuple[pl.DataFrame, dict]:
        mining = MiningSettings.model_validate({"depth": 10, "veto": [], **options})
        teachers, tables = {"bm25": bm25[0]}, {"bm25": bm25[1]}
        return mine_round(mining, encoder, teachers, tables, corpus, pairs, pairs[:5], previous, store, tmp_path / name)

    before = mine("before", None)[0].filter(pl.col("rank") <= 2)
    whole, report = mine("whole", before)
    request.getfixturevalue("small_parts")
    parts, of_parts = mine("parts", before)
    assert_frame_equal(parts, whole, rel_tol=1e-5)
    assert of_parts | {"seconds": 0} == report | {"seconds": 0}


def test_a_killed_round_searches_only_the_parts_that_it_had_not_searched(
    small_parts, encoder, corpus, pairs, no_pairs, store, tmp_path, monkeypatch
):
    searched = []

    def search(queries, *rest):
        searched.append(len(queries))
        if len(searched) == 3:
            raise KeyboardInterrupt
        return exact.search_block_on_cpu(queries, *rest)

    monkeypatch.setattr("conan_assets.search.nearest.Nearest._search_block", property(lambda nearest: search))
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    inputs = (encoder, {}, {}, corpus, pairs, no_pairs, None, store, tmp_path / "m")
    mining = MiningSettings.model_validate({"depth": 3, "veto": []})
    with pytest.raises(KeyboardInterrupt):
        mine_round(mining, *inputs)
    negatives, _ = mine_round(mining, *inputs)
    assert searched == [14, 14, 2, 2]
    assert negatives["query_id"].n_unique() == 30


@given(st.lists(st.floats(-100, 100, width=32), max_size=50))
def test_a_histogram_tells_scores_apart_to_a_two_thousandth_of_themselves(scores):
    histogram = Histogram()
    for part in np.array_split(np.array([*scores, np.nan, -np.inf], np.float32), 3):
        histogram.add(part)
    values, counts = histogram.values()
    np.testing.assert_allclose(np.repeat(values, counts), np.sort(scores), rtol=5e-4, atol=1e-37)
