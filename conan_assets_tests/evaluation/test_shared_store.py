"""One store for evaluation and mining: a checkpoint encodes each text once, whoever asks for it."""

from collections import Counter

import polars as pl
import pytest

from conan_assets.data.tables import DOCUMENT_TEXT
from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.evaluation.run import evaluate_encoder
from conan_assets.mining.hard_negatives import mine_hard_negatives
from conan_assets.mining.settings import MiningSettings
from conan_assets_tests.evaluation.conftest import DOCS


@pytest.fixture
def encoded(monkeypatch) -> Counter:
    """Return how often each text was encoded, by role."""
    counts: Counter = Counter()
    really_encode = Encoder.encode

    def counted(self, texts, role):
        counts.update((role, text) for text in texts)
        return really_encode(self, texts, role)

    monkeypatch.setattr(Encoder, "encode", counted)
    return counts


@pytest.mark.parametrize("order", [("evaluate", "mine"), ("mine", "evaluate")])
def test_evaluating_a_checkpoint_and_mining_with_it_encode_each_text_once(
    order, encoded, store, corpus, pairs, tiny_model, tmp_path
):
    settings = EncoderSettings(tiny_model, query_prompt="query: ", document_prompt="text: ", dtype="float32")
    training = pairs.filter(split="train")
    mining = MiningSettings.model_validate({"depth": 5, "pool_depth": 5, "negatives_per_query": 1, "veto": []})

    def evaluate() -> None:
        encoder = Encoder(settings, device="cpu")
        evaluate_encoder(encoder, store, DOCS, corpus, pairs, tmp_path / "report", tmp_path / "finished")

    def mine() -> None:
        (tmp_path / "mined").mkdir(exist_ok=True)
        encoder = Encoder(settings, device="cpu")
        report = mine_hard_negatives(
            mining,
            encoder,
            {},
            {},
            corpus.lazy(),
            training.lazy(),
            pairs.filter(pl.col("split") != "train"),
            None,
            store,
            tmp_path / "mined",
            None,
        )
        assert report["rows"] > 0

    for step in order:
        {"evaluate": evaluate, "mine": mine}[step]()
    assert set(encoded.values()) == {1}
    documents = corpus.filter(dataset="python").select(text=DOCUMENT_TEXT)["text"]
    assert {text for role, text in encoded if role == "document"} == set(documents)
    judged = pairs.filter(pl.col("score") > 0, pl.col("dataset") == "python")["query"]
    assert {text for role, text in encoded if role == "query"} == set(judged)
    before = encoded.total()
    for step in order:
        {"evaluate": evaluate, "mine": mine}[step]()
    assert encoded.total() == before
