import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from conan_assets.encoding import store as store_module
from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.encoding.store import EmbeddingStore

TEXTS = [f"document number {number}" for number in range(100)]


@pytest.fixture(scope="module")
def encoder(tiny_model: str) -> Encoder:
    return Encoder(EncoderSettings(tiny_model, dtype="float32"), device="cpu")


def test_stored_rows_equal_fresh_embeddings_in_the_order_asked_for(tmp_path: Path, encoder: Encoder):
    store = EmbeddingStore(tmp_path)
    store.embed(encoder, TEXTS, "document")
    shuffled = TEXTS[::-1]
    np.testing.assert_allclose(
        store.embed(encoder, shuffled, "document").block(0, 100), encoder.encode(shuffled, "document"), atol=1e-3
    )


def test_a_second_run_encodes_nothing_and_a_changed_corpus_only_its_changes(tmp_path: Path, encoder: Encoder):
    store = EmbeddingStore(tmp_path)
    assert store.embed(encoder, TEXTS, "document").encoded == 100
    assert store.embed(encoder, TEXTS, "document").encoded == 0
    assert store.embed(encoder, [*TEXTS[1:], "a new document"], "document").encoded == 1


def test_a_repeated_text_is_encoded_once(tmp_path: Path, encoder: Encoder):
    embeddings = EmbeddingStore(tmp_path).embed(encoder, ["same", "other", "same"], "document")
    assert embeddings.encoded == 2
    assert np.array_equal(embeddings.block(0, 1), embeddings.block(2, 3))


@pytest.mark.parametrize("change", [{"query_prompt": "query: "}, {"max_tokens": 8}, {"dtype": "bfloat16"}])
def test_another_prompt_length_or_type_reuses_nothing(tmp_path: Path, encoder: Encoder, tiny_model: str, change: dict):
    store = EmbeddingStore(tmp_path)
    store.embed(encoder, TEXTS, "query")
    other = Encoder(EncoderSettings(**{"model": tiny_model, "dtype": "float32", **change}), device="cpu")
    assert store.embed(other, TEXTS, "query").encoded == 100


def test_changed_weights_under_the_same_path_reuse_nothing(tmp_path: Path, tiny_model: str):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    settings = EncoderSettings(str(folder), dtype="float32")
    store = EmbeddingStore(tmp_path / "store")
    store.embed(Encoder(settings), TEXTS, "document")
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.LayerNorm.weight"] = weights["embeddings.LayerNorm.weight"] + 0.5
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert store.embed(Encoder(settings), TEXTS, "document").encoded == 100


def test_the_same_weights_elsewhere_are_the_same_encoder(tmp_path: Path, encoder: Encoder, tiny_model: str):
    copy = Encoder(EncoderSettings(str(shutil.copytree(tiny_model, tmp_path / "copy")), dtype="float32"))
    assert copy.namespace("document") == encoder.namespace("document")


def test_a_killed_run_loses_only_the_shard_it_was_writing(
    tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(store_module, "ROWS_PER_SHARD", 40)
    store = EmbeddingStore(tmp_path)
    store.embed(encoder, TEXTS, "document")
    keys = sorted(tmp_path.rglob("*.keys.npy"), key=lambda path: path.stat().st_mtime_ns)
    assert len(keys) == 3
    keys[-1].unlink()
    assert store.embed(encoder, TEXTS, "document").encoded == 20


def test_no_text_gives_no_row(tmp_path: Path, encoder: Encoder):
    assert len(EmbeddingStore(tmp_path).embed(encoder, [], "document")) == 0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 99), min_size=1, max_size=30))
def test_rows_gathers_any_rows(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder, wanted: list[int]):
    root = tmp_path_factory.getbasetemp() / "rows_gathers"
    embeddings = EmbeddingStore(root).embed(encoder, TEXTS, "document")
    every = embeddings.block(0, 100)
    assert np.array_equal(embeddings.rows(np.array(wanted)), every[wanted])
