import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from conan_assets.encoding import store as store_module
from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.rows import StoredRows
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


def test_texts_that_lose_their_ends_are_counted_and_told(
    tmp_path: Path, tiny_model: str, caplog: pytest.LogCaptureFixture
):
    store, encoder = (
        EmbeddingStore(tmp_path),
        Encoder(EncoderSettings(tiny_model, dtype="float32", max_tokens=8), "cpu"),
    )
    texts = ["fits", "abcdef", "abcdefg", "a text of far more than eight tokens"]
    with caplog.at_level("INFO", logger="conan_assets"):
        assert store.embed(encoder, texts, "document").cut == 2
    assert "2 of 4 document texts are cut to 8 tokens" in caplog.messages
    assert store.embed(encoder, texts, "document").cut == 0


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


@pytest.fixture
def in_parts(tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a store that was filled in three parts, of 40, 40 and 20 rows."""
    monkeypatch.setattr(store_module, "ROWS_PER_SHARD", 10)
    EmbeddingStore(tmp_path).embed(encoder, TEXTS, "document")
    (folder,) = tmp_path.iterdir()
    return folder


@pytest.mark.parametrize("cut", [1, 100])
def test_a_killed_run_loses_only_the_part_it_was_writing(in_parts: Path, encoder: Encoder, cut: int):
    lines = (in_parts / "parts").read_bytes()
    (in_parts / "parts").write_bytes(lines[:-cut])
    store = EmbeddingStore(in_parts.parent)
    assert store.embed(encoder, TEXTS, "document").encoded == 20
    assert EmbeddingStore(in_parts.parent).embed(encoder, TEXTS[::-1], "document").encoded == 0


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "place", "lost"),
    [("rows.bin", 0, 40), ("rows.bin", -1, 20), ("keys.bin", 45 * 16, 40), ("parts", 60, 40), ("parts", 2, 40)],
)
def test_a_damaged_part_is_named_and_encoded_again_with_the_same_rows(
    in_parts: Path, encoder: Encoder, name: str, place: int, lost: int, caplog: pytest.LogCaptureFixture
):
    before = EmbeddingStore(in_parts.parent).embed(encoder, TEXTS, "document").block(0, 100)
    flip(in_parts / name, place)
    again = EmbeddingStore(in_parts.parent).embed(encoder, TEXTS, "document")
    assert again.encoded == lost
    assert str(in_parts) in caplog.text
    np.testing.assert_allclose(again.block(0, 100), before, atol=1e-3)
    assert EmbeddingStore(in_parts.parent).embed(encoder, TEXTS, "document").encoded == 0


@pytest.mark.parametrize("name", ["rows.bin", "keys.bin"])
def test_a_truncated_file_loses_what_was_cut_off_alone(in_parts: Path, encoder: Encoder, name: str):
    path = in_parts / name
    path.write_bytes(path.read_bytes()[:-1])
    assert EmbeddingStore(in_parts.parent).embed(encoder, TEXTS[:40], "document").encoded == 0
    assert EmbeddingStore(in_parts.parent).embed(encoder, TEXTS, "document").encoded == 20
    (in_parts / name).unlink()
    assert EmbeddingStore(in_parts.parent).embed(encoder, TEXTS, "document").encoded == 100
    assert EmbeddingStore(in_parts.parent).embed(encoder, TEXTS, "document").encoded == 0


@pytest.mark.parametrize("name", ["rows.bin", "keys.bin", "parts", ".lock"])
@pytest.mark.parametrize("harm", [Path.mkdir, lambda path: path.symlink_to(path)], ids=["folder", "loop"])
def test_what_is_no_file_is_set_aside_and_its_rows_are_encoded_again(
    in_parts: Path, encoder: Encoder, name: str, harm: Callable[[Path], None]
):
    (in_parts / name).unlink()
    harm(in_parts / name)
    assert StoredRows(in_parts, np.dtype("float16")).damaged() == [f"{in_parts / name} is no file"]
    again = EmbeddingStore(in_parts.parent).embed(encoder, TEXTS, "document")
    assert again.encoded == len(TEXTS)
    np.testing.assert_allclose(again.block(0, 100), encoder.encode(TEXTS, "document"), atol=1e-3)
    assert os.path.lexists(in_parts.parents[1] / "damaged" / in_parts.parent.name / in_parts.name / name)


def test_rows_in_another_order_are_not_taken_for_the_texts(in_parts: Path, encoder: Encoder):
    rows = np.fromfile(in_parts / "rows.bin", np.float16).reshape(100, -1)
    rows[::-1].tofile(in_parts / "rows.bin")
    assert EmbeddingStore(in_parts.parent).embed(encoder, TEXTS, "document").encoded == 100


def test_two_stores_on_one_folder_see_what_the_other_one_appends(tmp_path: Path, encoder: Encoder):
    one, other = EmbeddingStore(tmp_path), EmbeddingStore(tmp_path)
    assert one.embed(encoder, TEXTS[:50], "document").encoded == 50
    assert other.embed(encoder, TEXTS, "document").encoded == 50
    assert one.embed(encoder, TEXTS, "document").encoded == 0


def test_no_text_gives_no_row(tmp_path: Path, encoder: Encoder):
    assert len(EmbeddingStore(tmp_path).embed(encoder, [], "document")) == 0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 99), min_size=1, max_size=30))
def test_rows_gathers_any_rows(tmp_path_factory: pytest.TempPathFactory, encoder: Encoder, wanted: list[int]):
    root = tmp_path_factory.getbasetemp() / "rows_gathers"
    embeddings = EmbeddingStore(root).embed(encoder, TEXTS, "document")
    every = embeddings.block(0, 100)
    assert np.array_equal(embeddings.rows(np.array(wanted)), every[wanted])
