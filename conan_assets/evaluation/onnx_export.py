"""A released model as one ONNX graph, from token ids to the embeddings of texts, and computed by ONNX Runtime."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from conan_assets.artifacts import fingerprint_file
from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.settings import EncoderSettings

if TYPE_CHECKING:
    import onnxruntime

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
EMBEDDING, TOKENS = "sentence_embedding", "last_hidden_state"
ONNX_FILE = Path("onnx", "model.onnx")
"""Where sentence-transformers and servers look for it in a model's folder."""


class _Pipeline(torch.nn.Module):
    """All modules of a model as one: from token ids to the embeddings of tokens and of texts."""

    def __init__(self, model: torch.nn.Module, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.model(dict(zip(self.names, values, strict=True)))
        return features["token_embeddings"], features[EMBEDDING]


def write_onnx(release: Path, path: Path) -> None:
    """Write a released model in float32, with the vectors of tokens and of texts as outputs."""
    model = Encoder(EncoderSettings(str(release), dtype="float32"), "cpu").model
    features = model.preprocess(["two texts", "of two lengths each"])
    names = [name for name in INPUTS if name in features]
    shapes = tuple({0: "texts", 1: "tokens"} for _ in names)
    path.parent.mkdir(exist_ok=True)
    torch.onnx.export(
        _Pipeline(model, names).eval(),
        tuple(features[name] for name in names),
        path,
        input_names=names,
        output_names=[TOKENS, EMBEDDING],
        dynamic_shapes={"values": shapes},
        dynamo=True,
        external_data=False,
        verbose=False,
    )


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
