"""Stored embeddings are read again only by code that would compute the same ones."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Pooling, Transformer
from transformers import PreTrainedModel, Qwen3Config, Qwen3Model

from conan_assets.encoding import encoder as encoder_module
from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.settings import ENCODING_VERSION, EncoderSettings
from conan_assets_tests.conftest import build_tiny_model

TEXTS = ["which owl lives at the pond?", "The owl sleeps, eats and sings. " * 4, "a"]
GOLDEN = {
    2: {
        "learned positions": [
            [-0.0798, 0.1312, -0.0894, 0.0467],
            [-0.1045, 0.103, -0.0917, 0.0659],
            [0.0752, 0.1046, -0.1313, 0.0512],
        ],
        "rotary positions": [
            [0.2339, 0.1791, 0.0855, -0.0053],
            [0.2406, 0.2487, 0.2383, 0.2219],
            [0.2725, 0.2361, 0.1571, 0.068],
        ],
    }
}
"""The first components of the texts' embeddings, by version and model."""


def set_weights(model: PreTrainedModel | SentenceTransformer) -> None:
    """Give every matrix values that no random generator decides."""
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            if parameter.dim() > 1:
                waves = torch.sin(torch.arange(1, parameter.numel() + 1, dtype=torch.float64) * (number + 1.3))
                parameter.copy_((0.3 * waves).reshape(parameter.shape))


def build_model(positions: str, folder: Path) -> str:
    learned = build_tiny_model(folder)
    if positions == "learned positions":
        model = SentenceTransformer(learned, device="cpu")
        set_weights(model)
        model.save(str(folder / "set"))
        return str(folder / "set")
    config = Qwen3Config(
        vocab_size=128, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, head_dim=16,
        num_key_value_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    rotary = Qwen3Model(config)
    set_weights(rotary)
    rotary.save_pretrained(folder / "rotary")
    SentenceTransformer(learned, device="cpu").tokenizer.save_pretrained(folder / "rotary")
    transformer = Transformer(str(folder / "rotary"), max_seq_length=64)
    SentenceTransformer(modules=[transformer, Pooling(32)], device="cpu").save(str(folder / "set"))
    return str(folder / "set")


@pytest.mark.parametrize("positions", GOLDEN[ENCODING_VERSION])
def test_the_numbers_of_this_version_are_the_known_ones(positions: str, tmp_path: Path):
    settings = EncoderSettings(build_model(positions, tmp_path), dtype="float32", query_prompt="q: ")
    found = Encoder(settings, device="cpu").encode(TEXTS, "query")[:, :4]
    np.testing.assert_allclose(
        found,
        GOLDEN[ENCODING_VERSION][positions],
        atol=2e-4,
        err_msg="the numbers changed: raise ENCODING_VERSION, or undo the change",
    )


def test_what_another_version_stored_is_not_read(tiny_model: str, monkeypatch: pytest.MonkeyPatch):
    encoder = Encoder(EncoderSettings(tiny_model, dtype="float32"), device="cpu")
    before = encoder.namespace("query")
    monkeypatch.setattr(encoder_module, "ENCODING_VERSION", ENCODING_VERSION + 1)
    assert encoder.namespace("query") != before
