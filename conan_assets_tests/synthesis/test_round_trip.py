import numpy as np
import pytest

from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.encoding.store import EmbeddingStore
from conan_assets.synthesis import round_trip
from conan_assets.synthesis.round_trip import BM25GateTeacher, EncoderGateTeacher

DOCUMENTS = ["cats purr when content", "dogs bark at the moon", "birds sing at dawn", "dogs bark at the moon"]


@pytest.fixture
def encoder(tiny_model) -> Encoder:
    return Encoder(EncoderSettings(tiny_model, dtype="float32"))


def test_bm25_ranks_the_own_document_and_gives_no_score():
    queries = ["who purrs and when are cats content", "dogs bark at the moon and at dawn", "nobody knows this word"]
    ranks = BM25GateTeacher().ranks(queries, DOCUMENTS, np.array([0, 2, 1]))
    assert ranks[0] == 1
    assert ranks[1] > 1
    assert ranks[2] > len(DOCUMENTS)
    assert BM25GateTeacher().scores(queries, DOCUMENTS[:3]) is None


def test_an_encoder_ranks_as_sorting_all_cosines_does(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(round_trip, "DOCUMENTS_PER_BLOCK", 3)
    monkeypatch.setattr(round_trip, "QUERIES_PER_BLOCK", 2)
    documents = [f"text {number} about {word}" for number in range(9) for word in ("cats", "dogs")]
    queries = [f"what is {number}" for number in range(7)]
    own = np.arange(7)
    teacher = EncoderGateTeacher(encoder, EmbeddingStore(tmp_path, "float32"))
    cosines = encoder.encode(queries, "query") @ encoder.encode(documents, "document").T
    expected = [int((row > row[position] + 1e-5).sum()) + 1 for row, position in zip(cosines, own, strict=True)]
    assert teacher.ranks(queries, documents, own).tolist() == expected
    np.testing.assert_allclose(teacher.scores(queries, documents[:7]), cosines[own, own], atol=1e-5)


def test_equal_documents_share_the_better_rank(encoder, tmp_path):
    teacher = EncoderGateTeacher(encoder, EmbeddingStore(tmp_path))
    ranks = teacher.ranks(["dogs bark at the moon"] * 2, DOCUMENTS, np.array([1, 3]))
    assert ranks.tolist() == [1, 1]


def test_what_the_gate_encodes_is_there_when_the_same_model_teaches(encoder, tmp_path):
    store = EmbeddingStore(tmp_path)
    EncoderGateTeacher(encoder, store).ranks(["who barks"], DOCUMENTS, np.array([1]))
    assert store.embed(encoder, DOCUMENTS, "document").encoded == 0
    assert store.embed(encoder, ["who barks"], "query").encoded == 0
