"""Models are untrusted input: nothing that could run code is loaded, and what is damaged or too small is named."""

import json
import logging
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Pooling, Transformer
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model, RobertaConfig, RobertaModel

from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.loading import DamagedWeightsError, TokenLimitError, load_model, positions_of
from conan_assets.encoding.models import ModelNotFoundError, UnsafeWeightsError, locate_model
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.training.architecture import ArchitectureSettings
from conan_assets.training.model import TrainableModel


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return (exec, (f"open({str(self.path)!r}, 'w').close()",))


@pytest.fixture
def executed(tmp_path: Path) -> Path:
    return tmp_path / "the_pickle_was_executed"


@pytest.fixture
def pickled_model(tmp_path: Path, tiny_model: str, executed: Path) -> str:
    folder = shutil.copytree(tiny_model, tmp_path / "pickled_model")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Malicious(executed)))
    return str(folder)


def test_the_malicious_pickle_of_these_tests_would_run(executed: Path):
    pickle.loads(pickle.dumps(Malicious(executed)))
    assert executed.exists()


def test_a_model_whose_weights_are_a_pickle_is_refused_and_not_executed(pickled_model: str, executed: Path):
    settings = EncoderSettings(pickled_model)
    loads = (
        lambda: locate_model(pickled_model),
        lambda: load_model(settings),
        lambda: Encoder(settings).model,
        lambda: TrainableModel(settings, ArchitectureSettings(), "cpu", 0),
    )
    for load in loads:
        with pytest.raises(UnsafeWeightsError, match=r"pytorch_model\.bin.*a pickle runs code.*convert the weights"):
            load()
    assert not executed.exists()


def test_a_pickle_beside_safetensors_is_never_read(tiny_model: str, tmp_path: Path, executed: Path):
    folder = shutil.copytree(tiny_model, tmp_path / "both")
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Malicious(executed)))
    assert Encoder(EncoderSettings(str(folder), dtype="float32")).encode(["a text"], "query").shape == (1, 32)
    assert not executed.exists()


def test_a_pickled_part_of_an_otherwise_safe_model_is_refused(tiny_model: str, tmp_path: Path, executed: Path):
    folder = shutil.copytree(tiny_model, tmp_path / "with_head")
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(pickle.dumps(Malicious(executed)))
    (folder / "2_Dense" / "config.json").write_text(json.dumps({"in_features": 32, "out_features": 8}))
    with pytest.raises(UnsafeWeightsError, match="2_Dense"):
        load_model(EncoderSettings(str(folder)))
    assert not executed.exists()


def test_a_folder_without_weights_is_refused(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UnsafeWeightsError, match="no safetensors"):
        locate_model(str(tmp_path))
    with pytest.raises(ModelNotFoundError, match="there is no model folder"):
        locate_model(str(tmp_path / "gone"))


def test_a_models_own_code_runs_only_when_trusted_and_then_with_a_warning(
    tiny_model: str, tmp_path: Path, executed: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = shutil.copytree(tiny_model, tmp_path / "with_code")
    (folder / "own.py").write_text(
        f"open({str(executed)!r}, 'w').close()\nfrom sentence_transformers.models import Transformer as Own\n"
    )
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = "own.Own"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(Exception, match=r"own|trust_remote_code"):
        load_model(EncoderSettings(str(folder)))
    assert not executed.exists()
    with caplog.at_level(logging.WARNING, "conan_assets"):
        load_model(EncoderSettings(str(folder), trust_remote_code=True))
    assert "code that comes with this model is run" in caplog.text
    assert executed.exists()


def test_a_model_is_loaded_in_the_type_asked_for(tiny_model: str):
    model = load_model(EncoderSettings(tiny_model, max_tokens=7), "cpu", torch.bfloat16)
    assert next(model.parameters()).dtype == torch.bfloat16
    assert model.max_seq_length == 7


@pytest.mark.parametrize(("kind", "positions"), [("bert", 64), ("roberta", 62), ("gpt2", 64)])
def test_more_tokens_than_a_model_has_positions_are_refused_when_it_is_opened(
    tmp_path: Path, tiny_model: str, kind: str, positions: int
):
    model = build_with_positions(tmp_path, tiny_model, kind)
    message = rf"max_tokens is {positions + 1}, above the {positions} positions of '.*': give {positions} or less"
    with pytest.raises(TokenLimitError, match=message):
        load_model(EncoderSettings(model, max_tokens=positions + 1))
    for limit in (positions, None):
        opened = load_model(EncoderSettings(model, max_tokens=limit))
        assert opened.max_seq_length == positions
        assert np.isfinite(opened.encode("a " * 200)).all()


def build_with_positions(folder: Path, tiny_model: str, kind: str) -> str:
    """Save a model of 64 positions whose own limit is 100 tokens."""
    tokenizer = SentenceTransformer(tiny_model, device="cpu").tokenizer
    tokenizer.model_max_length = 100
    common = {"vocab_size": len(tokenizer), "pad_token_id": 0 if kind != "roberta" else 1}
    layers = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config, model = {
        "bert": (BertConfig(**common, **layers, max_position_embeddings=64), BertModel),
        "roberta": (RobertaConfig(**common, **layers, max_position_embeddings=64), RobertaModel),
        "gpt2": (GPT2Config(**common, n_embd=32, n_layer=1, n_head=2, n_positions=64), GPT2Model),
    }[kind]
    model(config).save_pretrained(folder / "transformer")
    tokenizer.save_pretrained(folder / "transformer")
    transformer = Transformer(str(folder / "transformer"), max_seq_length=100)
    SentenceTransformer(modules=[transformer, Pooling(32)], device="cpu").save(str(folder / "model"))
    return str(folder / "model")


def test_positions_that_are_computed_are_no_limit():
    assert positions_of(torch.nn.Sequential(torch.nn.Embedding(8, 2))) is None


def test_damaged_weights_are_named_with_their_folder(tmp_path: Path, tiny_model: str):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:-100])
    with pytest.raises(DamagedWeightsError, match=rf"{folder} are damaged .*: fetch or make them again"):
        load_model(EncoderSettings(str(folder)))
