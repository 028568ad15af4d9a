"""A teacher's settings open a retriever; a class of the user's own is as good a teacher as any."""

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from conan_assets.encoding.settings import EncoderSettings
from conan_assets.encoding.store import EmbeddingStore
from conan_assets.mining.api import mine
from conan_assets.search.groups import Groups
from conan_assets.search.retriever import ExhaustiveRetriever
from conan_assets.search.settings import BiEncoderTeacher, BM25Teacher, HybridTeacher, PythonTeacher
from conan_assets.search.teachers import TeacherError, open_teacher

MODULE = """
import numpy as np
from conan_assets.search.retriever import ExhaustiveRetriever


class Lengths(ExhaustiveRetriever):
    def __init__(self, documents, retrievable=None, *, unit=1):
        super().__init__(documents, retrievable)
        self.lengths = np.array([len(text) / unit for text in documents], np.float32)

    def scores(self, query):
        return self.lengths
"""
DOCUMENTS = ["aa", "aaaa", "a", "aaa", "aaaaa"]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "teachers_of_mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "teachers_of_mine"
    sys.modules.pop("teachers_of_mine", None)


def open_python(retriever: str, folder: Path, retrievable: int | None = None, **options: object):
    settings = PythonTeacher(retriever=retriever, options=options)
    return open_teacher(settings, DOCUMENTS, EmbeddingStore(folder), retrievable=retrievable)


def test_a_class_named_by_its_module_finds_and_scores(module, tmp_path):
    retriever = open_python(f"{module}:Lengths", tmp_path, retrievable=4, unit=2)
    found = retriever.search(["q"], 2, Groups.from_pairs(np.array([0]), np.array([1]), 1))
    assert found.positions.tolist() == [[3, 0]]
    assert retriever.score(["q"], np.array([0, 0]), np.array([4, 2])).tolist() == [2.5, 0.5]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("no_such_module:Lengths", {}, "'no_such_module:Lengths' cannot be imported.*PYTHONPATH"),
        ("teachers_of_mine:Missing", {}, "'teachers_of_mine:Missing' cannot be imported"),
        ("teachers_of_mine:Lengths", {"size": 1}, "options size"),
    ],
)
def test_a_class_that_cannot_be_opened_is_an_error_that_names_it(module, tmp_path, name, options, message):
    with pytest.raises(TeacherError, match=message):
        open_python(name, tmp_path, **options)


def test_a_class_mines_in_plain_python():
    class Lengths(ExhaustiveRetriever):
        def __init__(self, documents):
            super().__init__(documents)
            self.lengths = np.array([len(text) for text in documents], np.float32)

        def scores(self, query: str) -> np.ndarray:
            return self.lengths

    corpus = pl.DataFrame({"doc_id": list("abcde"), "text": DOCUMENTS})
    queries = pl.DataFrame({"query_id": ["q"], "text": ["a query"]})
    positives = pl.DataFrame({"query_id": ["q"], "doc_id": ["b"]})
    table = mine(queries, corpus, positives, teacher=Lengths, rule="top_k_abs", threshold=4.5)
    kept = table.filter(pl.col("verdict") == "kept").sort("order")
    assert kept["doc_id"].to_list() == ["d", "a", "c"]


class Fixed(ExhaustiveRetriever):
    """Gives the same array for every query."""

    def __init__(self, documents, returned):
        super().__init__(documents)
        self.returned = returned

    def scores(self, query: str) -> np.ndarray:
        return self.returned


def test_what_a_query_may_not_find_is_hidden_from_that_query_alone():
    retriever = Fixed(DOCUMENTS, np.arange(1, 6, dtype=np.float64))
    found = retriever.search(["a", "b"], 2, Groups.from_pairs(np.array([0]), np.array([4]), 2))
    assert found.positions.tolist() == [[3, 2], [4, 3]]
    assert retriever.score(["a"], np.array([0]), np.array([4])).tolist() == [5.0]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (np.ones(4), r"Fixed.scores returned the shape \(4,\) for 5 documents"),
        (np.array([1, 2, np.nan, 4, 5]), "Fixed.scores returned NaN for document 2 and 'a'"),
    ],
)
def test_scores_that_cannot_be_ranked_are_an_error_that_names_the_class(returned, message):
    with pytest.raises(ValueError, match=message):
        Fixed(DOCUMENTS, returned).search(["a"], 2, Groups.empty(1))


WORDS = ["the cat sleeps", "a dog barks", "cats and dogs", "an owl hoots", "the cat and the owl"]


def test_a_hybrid_adds_bm25s_share_of_its_best_to_the_cosine(tmp_path, tiny_model):
    encoder, store = EncoderSettings(tiny_model, dtype="float32"), EmbeddingStore(tmp_path)
    parts = (BiEncoderTeacher(encoder=encoder), BM25Teacher())
    dense, lexical = (open_teacher(part, WORDS, store) for part in parts)
    hybrid = open_teacher(HybridTeacher(encoder=encoder, bm25_weight=0.25), WORDS, store)
    queries, every = ["where does the owl hoot", "barking dogs", "zebra"], np.arange(15)
    rows, documents = every // 5, every % 5
    words = lexical.score(queries, rows, documents).reshape(3, 5)
    shares = words / np.maximum(words.max(axis=1, keepdims=True), 1e-9)
    expected = dense.score(queries, rows, documents).reshape(3, 5) + 0.25 * shares
    assert hybrid.score(queries, rows, documents).reshape(3, 5) == pytest.approx(expected, abs=1e-5)
    found = hybrid.search(queries, 5, Groups.empty(3))
    assert found.positions.tolist() == np.argsort(-expected, axis=1).tolist()
    assert found.scores == pytest.approx(-np.sort(-expected, axis=1), abs=1e-5)


def test_a_hybrid_finds_what_either_part_finds_and_never_what_is_excluded(tmp_path, tiny_model):
    encoder, store = EncoderSettings(tiny_model, dtype="float32"), EmbeddingStore(tmp_path)
    hybrid = open_teacher(HybridTeacher(encoder=encoder, bm25_weight=10), WORDS, store, retrievable=4)
    assert hybrid.search(["owl"], 1, Groups.empty(1)).positions.tolist() == [[3]]
    hidden = Groups.from_pairs(np.array([0]), np.array([3]), 1)
    found = hybrid.search(["owl"], 3, hidden).positions
    assert sorted(found[0].tolist()) == [0, 1, 2]
    assert hybrid.effort.encoded > 0
