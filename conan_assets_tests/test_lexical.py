import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conan_assets.lexical import BM25, tokenize

DOCUMENTS = ["The cat sat on the mat.", "Dogs chase cats.", "向量检索与负样本", "", "stock markets fell"]


def test_english_is_stemmed_and_chinese_becomes_character_bigrams():
    assert tokenize("The Cats, sitting") == ["cat", "sit"]
    assert tokenize("负样本 BM25") == ["bm25", "负样", "样本"]
    assert tokenize("한국어 검색") == ["한국어", "검색"]


def test_the_best_document_shares_the_rarest_terms():
    positions, scores = BM25(DOCUMENTS).search("负样本", 3)
    assert positions.tolist() == [2]
    assert scores[0] > 0


def test_documents_without_a_common_term_are_never_returned():
    positions, _ = BM25(DOCUMENTS).search("zebra", 5)
    assert positions.size == 0


def test_documents_of_equal_score_come_in_their_order():
    positions, _ = BM25(["cat"] * 50).search("cat", 7)
    assert positions.tolist() == list(range(7))


def test_an_empty_corpus_is_refused():
    with pytest.raises(ValueError, match="at least one document"):
        BM25([])


@given(st.text(max_size=30), st.integers(1, 10))
def test_search_returns_the_top_of_all_scores_best_first(query: str, k: int):
    index = BM25(DOCUMENTS)
    positions, scores = index.search(query, k)
    every = index.scores(query)
    assert len(positions) == min(k, int((every > 0).sum()))
    assert np.array_equal(scores, np.sort(every)[::-1][: len(scores)])
