"""Models are untrusted input: nothing that could run code is loaded."""

import json
import logging
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.loading import load_model
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
