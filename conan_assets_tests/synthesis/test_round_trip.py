"""Where a written question finds its own passage."""

import numpy as np
import pytest

from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.encoding.store import EmbeddingStore
from conan_assets.search.bm25 import BM25Retriever
from conan_assets.search.embeddings import BiEncoderRetriever
from conan_assets.synthesis.round_trip import GateTeacher, own_ranks

DOCUMENTS = ["cats purr when content", "dogs bark at the moon", "birds sing at dawn", "dogs bark at the moon"]


@pytest.fixture
def encoder(tiny_model) -> Encoder:
    return Encoder(EncoderSettings(tiny_model, dtype="float32"))


def test_bm25_ranks_the_own_document_and_never_one_that_shares_no_term():
    queries = ["who purrs and when are cats content", "dogs bark at the moon and at dawn", "nobody knows this word"]
    ranks = own_ranks(BM25Retriever(DOCUMENTS), queries, np.array([0, 2, 1]), k=3)
    assert ranks[0] == 1
    assert ranks[1] > 1
    assert ranks[2] == 4


@pytest.mark.parametrize("k", [1, 5, 18])
def test_an_encoder_ranks_as_sorting_all_cosines_does_up_to_k(encoder, tmp_path, k):
    documents = [f"text {number} about {word}" for number in range(9) for word in ("cats", "dogs")]
    queries = [f"what is {number}" for number in range(7)]
    own = np.arange(7)
    store = EmbeddingStore(tmp_path, "float32")
    cosines = encoder.encode(queries, "query") @ encoder.encode(documents, "document").T
    expected = [int((row > row[position] + 1e-5).sum()) + 1 for row, position in zip(cosines, own, strict=True)]
    ranks = own_ranks(BiEncoderRetriever(encoder, store, documents), queries, own, k)
    assert ranks.tolist() == np.minimum(expected, k + 1).tolist()
    teacher = GateTeacher(lambda texts: BiEncoderRetriever(encoder, store, texts), gives_cosines=True)
    np.testing.assert_allclose(teacher.cosines(queries, documents[:7]), cosines[own, own], atol=1e-5)


def test_equal_documents_share_the_better_rank(encoder, tmp_path):
    retriever = BiEncoderRetriever(encoder, EmbeddingStore(tmp_path), DOCUMENTS)
    for k in (1, 3):
        assert own_ranks(retriever, ["dogs bark at the moon"] * 2, np.array([1, 3]), k).tolist() == [1, 1]


def test_what_the_gate_encodes_is_there_when_the_same_model_teaches(encoder, tmp_path):
    store = EmbeddingStore(tmp_path)
    own_ranks(BiEncoderRetriever(encoder, store, DOCUMENTS), ["who barks"], np.array([1]), k=2)
    assert store.embed(encoder, DOCUMENTS, "document").encoded == 0
    assert store.embed(encoder, ["who barks"], "query").encoded == 0
