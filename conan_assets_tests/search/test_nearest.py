"""Blocked search returns what sorting all products would, in one total order, and goes on after a kill."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conan_assets.search import exact, screening
from conan_assets.search.approximate import ApproximateIndex
from conan_assets.search.exact import exact_nearest
from conan_assets.search.groups import Groups
from conan_assets.search.nearest import Nearest
from conan_assets.search.ranking import BestOf, Neighbours, pack
from conan_assets.search.screening import search_block_with_screening
from conan_assets.search.settings import SearchSettings
from conan_assets.search.torch_exact import search_block_on
from conan_assets.search.vectors import ArrayVectors, FileVectors, PickedVectors


def unit_rows(rows: int, dim: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def whole_numbers(rows: int, dim: int, seed: int) -> np.ndarray:
    """Vectors whose products are exact and often equal."""
    return np.random.default_rng(seed).integers(-2, 3, (rows, dim)).astype(np.float32)


def by_sorting(queries: np.ndarray, documents: np.ndarray, k: int, excluded: Groups) -> list[list[int]]:
    results = []
    for row, scores in enumerate(queries @ documents.T):
        scores[excluded[row]] = -np.inf
        order = np.lexsort((np.arange(len(scores)), -scores))
        results.append([int(i) for i in order[:k] if scores[i] > -np.inf])
    return results


def found(neighbours: Neighbours) -> list[list[int]]:
    return [row[row >= 0].tolist() for row in neighbours.positions]


def random_exclusions(queries: int, documents: int, seed: int, most: int) -> Groups:
    generator = np.random.default_rng(seed)
    counts = generator.integers(0, most + 1, queries)
    return Groups.from_pairs(
        np.repeat(np.arange(queries), counts), generator.integers(documents, size=counts.sum()), queries
    )


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(exact, "MAX_QUERIES_PER_BLOCK", 7)
    monkeypatch.setattr(exact, "DOCUMENTS_PER_BLOCK", 13)


@pytest.mark.parametrize("documents", [5, 13, 40, 131])
@pytest.mark.parametrize("k", [1, 10, 50])
def test_the_result_is_that_of_sorting_every_product(small_blocks, documents, k):
    queries, texts = whole_numbers(20, 8, 1), whole_numbers(documents, 8, 2)
    excluded = random_exclusions(20, documents, 3, most=6)
    expected = by_sorting(queries, texts, k, excluded)
    assert found(exact_nearest(ArrayVectors(queries), ArrayVectors(texts), k, excluded)) == expected


@pytest.mark.parametrize("documents", [5, 131])
def test_the_matrix_products_of_torch_find_the_same_documents(small_blocks, monkeypatch, documents):
    monkeypatch.setattr("conan_assets.search.torch_exact.DOCUMENTS_PER_BLOCK", 13)
    queries, texts = ArrayVectors(unit_rows(20, 8, 1)), ArrayVectors(unit_rows(documents, 8, 2))
    excluded = random_exclusions(20, documents, 3, most=6)
    on_torch = exact_nearest(queries, texts, 10, excluded, search_block=search_block_on("cpu", texts))
    assert found(on_torch) == found(exact_nearest(queries, texts, 10, excluded))


class CountedVectors(ArrayVectors):
    """Counts the rows that were read."""

    read = 0

    def block(self, start: int, stop: int) -> np.ndarray:
        self.read += stop - start
        return super().block(start, stop)


def test_on_a_device_documents_are_read_once_for_all_queries(small_blocks, monkeypatch):
    monkeypatch.setattr("conan_assets.search.torch_exact.DOCUMENTS_PER_BLOCK", 13)
    queries, texts = ArrayVectors(unit_rows(20, 8, 1)), CountedVectors(unit_rows(131, 8, 2))
    search_block = search_block_on("cpu", texts)
    first, second = (exact_nearest(queries, texts, 10, Groups.empty(20), search_block=search_block) for _ in range(2))
    assert found(first) == found(second)
    assert texts.read == 131


def test_an_index_is_built_once_for_all_queries():
    queries, texts = ArrayVectors(unit_rows(20, 8, 1)), CountedVectors(unit_rows(200, 8, 2))
    nearest = Nearest(SearchSettings(index="Flat", recall_queries=1), texts)
    nearest.find(queries, 10, Groups.empty(20))
    built = texts.read
    nearest.find(queries, 10, Groups.empty(20))
    assert texts.read - built == 200, "the exact search that recall is measured by"
    assert built == 400


@pytest.mark.parametrize("documents", [5, 131, 2_000])
@pytest.mark.parametrize("spread", [1.0, 1e-3])
def test_screening_in_bfloat16_finds_the_same_documents(documents, spread):
    centre = unit_rows(1, 24, 7)
    queries, texts = (ArrayVectors(centre + spread * unit_rows(rows, 24, rows)) for rows in (30, documents))
    excluded = random_exclusions(30, documents, 3, most=4)
    screened = exact_nearest(queries, texts, 10, excluded, search_block=search_block_with_screening(texts))
    plain = exact_nearest(queries, texts, 10, excluded)
    np.testing.assert_allclose(screened.scores, plain.scores, rtol=1e-6)
    for ours, theirs, scores in zip(found(screened), found(plain), plain.scores, strict=True):
        assert set(ours) == set(theirs) or scores[-1] == pytest.approx(scores[-2], rel=1e-6)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.floats(0.01, 100))
def test_no_rounding_error_hides_a_document_from_the_screen(seed, k, scale):
    generator = np.random.default_rng(seed)
    queries = ArrayVectors((scale * generator.standard_normal((5, 16))).astype(np.float32))
    texts = ArrayVectors(
        (generator.standard_normal((400, 16)) * generator.uniform(0.1, 3, (400, 1))).astype(np.float32)
    )
    nothing = Groups.from_pairs([], [], 5)
    screened = exact_nearest(queries, texts, k, nothing, search_block=search_block_with_screening(texts))
    plain = exact_nearest(queries, texts, k, nothing)
    np.testing.assert_allclose(screened.scores, plain.scores, rtol=1e-4, atol=1e-4 * scale)
    assert found(screened) == found(plain)


def test_where_everything_is_too_close_to_tell_apart_all_is_multiplied_in_float32(monkeypatch):
    called = []
    monkeypatch.setattr(screening, "search_block_on_cpu", lambda *a: called.append(1) or exact.search_block_on_cpu(*a))
    queries = ArrayVectors(np.ones((1, 4), np.float32))
    texts = ArrayVectors(np.ones((500, 4), np.float32) + np.arange(500, dtype=np.float32)[:, None] * 1e-6)
    search_block = search_block_with_screening(texts)
    result = exact_nearest(queries, texts, 3, Groups.from_pairs([], [], 1), search_block=search_block)
    assert called
    assert result.scores[0, 0] == pytest.approx(4 + 4 * 499e-6, rel=1e-6)


def test_equal_scores_go_to_the_lower_position_however_the_blocks_fall(small_blocks):
    documents = np.repeat(whole_numbers(2, 8, 0), 30, axis=0)
    result = exact_nearest(
        ArrayVectors(documents[:1]), ArrayVectors(documents), 20, Groups.from_pairs(np.zeros(1), np.array([3]), 1)
    )
    assert found(result) == [[i for i in range(21) if i != 3]]


def test_a_query_with_many_positives_gets_as_many_documents_as_the_others(small_blocks):
    queries, documents = unit_rows(3, 8, 0), unit_rows(100, 8, 1)
    excluded = Groups.from_pairs(np.zeros(80), np.arange(80), 3)
    result = exact_nearest(ArrayVectors(queries), ArrayVectors(documents), 10, excluded)
    assert [len(row) for row in found(result)] == [10, 10, 10]
    assert min(found(result)[0]) >= 80


def test_documents_sorted_from_worst_to_best_do_not_overflow_the_buffer(small_blocks):
    documents = np.linspace(-1, 1, 400, dtype=np.float32)[:, None]
    result = exact_nearest(
        ArrayVectors(np.ones((1, 1), np.float32)), ArrayVectors(documents), 5, Groups.from_pairs([], [], 1)
    )
    assert found(result) == [[399, 398, 397, 396, 395]]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(-3, 3), min_size=1, max_size=40), min_size=1, max_size=6), st.integers(1, 9))
def test_a_running_best_of_blocks_is_the_best_of_all(blocks, k):
    best, first = BestOf(1, k), 0
    for block in blocks:
        best.add(np.array([block], np.float32), first)
        first += len(block)
    scores = np.array([score for block in blocks for score in block], np.float32)
    expected = np.lexsort((np.arange(len(scores)), -scores))[:k]
    assert found(Neighbours.from_keys(best.keys())) == [expected.tolist()]


@given(st.lists(st.tuples(st.floats(width=32, allow_nan=False), st.integers(0, 2**32 - 1)), min_size=1, max_size=50))
def test_a_key_sorts_like_its_score_then_its_position_backwards(pairs):
    scores, positions = np.array([s for s, _ in pairs], np.float32), np.array([p for _, p in pairs], np.int64)
    by_key = np.argsort(pack(scores, positions), kind="stable")
    by_pair = np.lexsort((-positions, scores + np.float32(0)))
    np.testing.assert_array_equal(scores[by_key], scores[by_pair])
    np.testing.assert_array_equal(positions[by_key], positions[by_pair])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_refused_by_its_number(bad):
    queries, documents = unit_rows(2, 4, 0), unit_rows(30, 4, 1)
    documents[17, 2] = bad
    with pytest.raises(ValueError, match="document 17 holds NaN or infinity"):
        exact_nearest(ArrayVectors(queries), ArrayVectors(documents), 3, Groups.from_pairs([], [], 2))
    with pytest.raises(ValueError, match="query 1 holds NaN"):
        exact_nearest(ArrayVectors(documents[16:18]), ArrayVectors(queries), 3, Groups.from_pairs([], [], 2))


def test_vectors_in_a_file_are_read_like_those_in_memory(tmp_path):
    values = unit_rows(50, 6, 0).astype(np.float16)
    np.save(tmp_path / "v.npy", values)
    file, array = FileVectors(tmp_path / "v.npy"), ArrayVectors(values)
    picked = np.array([3, 3, 49, 0])
    assert file.shape == (50, 6)
    np.testing.assert_array_equal(file.block(10, 20), array.block(10, 20))
    np.testing.assert_array_equal(file.rows(picked), array.rows(picked))
    np.testing.assert_array_equal(PickedVectors(file, picked).block(1, 3), array.rows(picked[1:3]))
    np.save(tmp_path / "ids.npy", np.arange(6))
    with pytest.raises(ValueError, match="int64 of shape"):
        FileVectors(tmp_path / "ids.npy")


def test_an_approximate_index_that_looks_everywhere_finds_the_exact_result():
    queries, documents = ArrayVectors(unit_rows(20, 16, 0)), ArrayVectors(unit_rows(300, 16, 1))
    excluded = random_exclusions(20, 300, 2, most=30)
    result = ApproximateIndex("IVF4,Flat", "nprobe=4", documents).nearest(queries, 10, excluded)
    assert found(result) == found(exact_nearest(queries, documents, 10, excluded))


@pytest.mark.parametrize(("index", "parameters"), [("IVF4,Fat", ""), ("HNSW8", "nprobe=3"), ("IVF4,Flat", "nprobe=x")])
def test_what_faiss_cannot_read_is_an_error_that_names_it(index, parameters):
    vectors = ArrayVectors(unit_rows(300, 16, 1))
    with pytest.raises(ValueError, match=f"{index}.*{parameters}"):
        ApproximateIndex(index, parameters, vectors)


def test_finished_blocks_are_not_searched_again(tmp_path, small_blocks):
    queries, documents = ArrayVectors(unit_rows(20, 8, 0)), ArrayVectors(unit_rows(60, 8, 1))
    excluded = random_exclusions(20, 60, 2, most=3)
    once = exact_nearest(queries, documents, 5, excluded, tmp_path)

    def never(*_):
        raise AssertionError("a finished block was searched again")

    again = exact_nearest(queries, documents, 5, excluded, tmp_path, search_block=never)
    np.testing.assert_array_equal(once.positions, again.positions)
    np.testing.assert_array_equal(once.scores, again.scores)


SLOW_SEARCH = """
import sys, time
from pathlib import Path
import numpy as np
from conan_assets.search import exact, screening
from conan_assets.search.groups import Groups
from conan_assets.search.vectors import FileVectors

folder = Path(sys.argv[1])
exact.MAX_QUERIES_PER_BLOCK = 10

def slowly(queries, documents, k, excluded):
    print("block", flush=True)
    time.sleep(float(sys.argv[2]))
    return exact.search_block_on_cpu(queries, documents, k, excluded)

queries, documents = FileVectors(folder / "queries.npy"), FileVectors(folder / "documents.npy")
found = exact.exact_nearest(queries, documents, 5, Groups.from_pairs([], [], 100), folder / "blocks", slowly, threads=1)
np.save(folder / "result.npy", found.positions)
"""


@pytest.mark.slow
def test_a_search_killed_in_the_middle_goes_on_where_it_was(tmp_path: Path):
    np.save(tmp_path / "queries.npy", unit_rows(100, 8, 0))
    np.save(tmp_path / "documents.npy", unit_rows(500, 8, 1))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(seconds: float) -> subprocess.Popen:
        command = [sys.executable, "-c", SLOW_SEARCH, str(tmp_path), str(seconds)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    process = start(0.3)
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "blocks").glob("queries*.npy"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = len(list((tmp_path / "blocks").glob("queries*.npy")))
    assert 3 <= finished < 10
    assert not (tmp_path / "result.npy").exists()

    output, _ = start(0).communicate(timeout=60)
    assert output.count("block") == 10 - finished
    whole = exact_nearest(
        FileVectors(tmp_path / "queries.npy"),
        FileVectors(tmp_path / "documents.npy"),
        5,
        Groups.from_pairs([], [], 100),
    )
    np.testing.assert_array_equal(np.load(tmp_path / "result.npy"), whole.positions)


@pytest.mark.slow
def test_search_and_rules_work_without_torch_and_faiss():
    code = (
        "import sys, conan_assets.mining.api; print([m for m in ('torch', 'faiss', 'matplotlib') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
