"""Other forms of a released model, smaller or faster: written with ONNX Runtime's tools, and computed with it."""

import importlib.util
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from conan_assets.artifacts import fingerprint_file
from conan_assets.encoding.encoder import Encoder, Role
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.evaluation.settings import EvaluationError, ModelExport

if TYPE_CHECKING:
    import onnxruntime

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
EMBEDDING, TOKENS = "sentence_embedding", "last_hidden_state"
ONNX_FILES = {"onnx": Path("onnx", "model.onnx"), "onnx_int8": Path("onnx", "model_qint8.onnx")}
"""Where sentence-transformers and servers look for them in a model's folder."""
PACKAGES = ("model2vec", "onnx", "onnxruntime", "onnxscript", "skeletoken")
STATIC_COMPONENTS = 256


def write_export(kind: ModelExport, release: Path, folder: Path) -> None:
    """Write a released model in another form: a folder as the release's, with other weights.

    Raises
    ------
    EvaluationError
        The packages that write it are not installed.
    """
    if kind == "float16":
        _write_float16(release, folder)
        return
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise EvaluationError(
            f"release.exports has {kind}, which needs {', '.join(missing)}: pip install 'conan-assets[exports]' "
            "--constraint constraints.txt"
        )
    if kind == "static":
        _write_static(release, folder)
        return
    shutil.copytree(release, folder, ignore=shutil.ignore_patterns("*.safetensors"), dirs_exist_ok=True)
    path = folder / ONNX_FILES[kind]
    path.parent.mkdir(exist_ok=True)
    if kind == "onnx":
        _write_onnx(release, path)
    else:
        _write_int8(release, path)


def _write_float16(release: Path, folder: Path) -> None:
    shutil.copytree(release, folder, dirs_exist_ok=True)
    for path in folder.rglob("*.safetensors"):
        halves = {name: value.half() if value.is_floating_point() else value for name, value in load_file(path).items()}
        save_file(halves, path, metadata={"format": "pt"})
    config = folder / "config.json"
    types = {"dtype": "float16", "torch_dtype": "float16"}
    config.write_text(json.dumps(json.loads(config.read_text(encoding="utf-8")) | types, indent=2), encoding="utf-8")


def _write_static(release: Path, folder: Path) -> None:
    """Distil the model into a vector a token, without prompts: their tokens would move all vectors alike."""
    from sentence_transformers.models import StaticEmbedding

    tokens = StaticEmbedding.from_distillation(str(release), device="cpu", pca_dims=STATIC_COMPONENTS)
    SentenceTransformer(modules=[tokens], device="cpu").save(str(folder), create_model_card=False)


class _Pipeline(torch.nn.Module):
    """All modules of a model as one: from token ids to the embeddings of tokens and of texts."""

    def __init__(self, model: torch.nn.Module, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.model(dict(zip(self.names, values, strict=True)))
        return features["token_embeddings"], features[EMBEDDING]


def _write_onnx(release: Path, path: Path) -> None:
    model = Encoder(EncoderSettings(str(release), dtype="float32"), "cpu").model
    features = model.preprocess(["two texts", "of two lengths each"])
    names = [name for name in INPUTS if name in features]
    shapes = tuple({0: "texts", 1: "tokens"} for _ in names)
    torch.onnx.export(
        _Pipeline(model, names),
        tuple(features[name] for name in names),
        path,
        input_names=names,
        output_names=[TOKENS, EMBEDDING],
        dynamic_shapes={"values": shapes},
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def _write_int8(release: Path, path: Path) -> None:
    """Round weights to 8 bits by output channel, and activations as they come (dynamic quantisation)."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder, "model.onnx")
        _write_onnx(release, whole)
        quantize_dynamic(whole, path, weight_type=QuantType.QInt8, per_channel=True)


class OnnxEncoder(Encoder):
    """An exported model that ONNX Runtime computes, with the tokenizer and the prompts of the release."""

    def __init__(self, release: EncoderSettings, file: Path) -> None:
        super().__init__(release, "cpu")
        self.file = file

    @cached_property
    def weights_fingerprint(self) -> str:
        """16 hex digits of the file."""
        return fingerprint_file(self.file)[:16]

    @cached_property
    def _session(self) -> "onnxruntime.InferenceSession":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        return onnxruntime.InferenceSession(self.file, options, providers=["CPUExecutionProvider"])

    def compute(self, features: Mapping[str, Any]) -> torch.Tensor:
        """Return the float32 embeddings, of shape (texts, dim), of what ``model.preprocess`` made of a batch."""
        names = [each.name for each in self._session.get_inputs()]
        (embeddings,) = self._session.run([EMBEDDING], {name: features[name].numpy() for name in names})
        return torch.from_numpy(embeddings)


class StaticEncoder(Encoder):
    """A model that adds up vectors of tokens: nothing is padded, and no text is too long."""

    @cached_property
    def model(self) -> SentenceTransformer:
        """The loaded model, whose tokenizer is a bare one."""
        return SentenceTransformer(str(self.path), device="cpu").eval()

    def encode(self, texts: Sequence[str], role: Role) -> np.ndarray:
        """Return the embeddings of ``texts``, float32 of shape (len(texts), dim), rows of length 1."""
        embeddings: np.ndarray = self.model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return embeddings


def open_export(kind: ModelExport, release: EncoderSettings, folder: Path) -> Encoder:
    """Return what :func:`write_export` wrote as an encoder."""
    if kind == "float16":
        return Encoder(EncoderSettings(str(folder), dtype="float16"))
    if kind == "static":
        return StaticEncoder(EncoderSettings(str(folder), dtype="float32"), "cpu")
    return OnnxEncoder(release, folder / ONNX_FILES[kind])


def megabytes_of(folder: Path) -> float:
    """Return the size of a model's weights in 10^6 bytes."""
    files = [path for path in folder.rglob("*") if path.suffix in (".safetensors", ".onnx")]
    return sum(path.stat().st_size for path in files) / 1e6
