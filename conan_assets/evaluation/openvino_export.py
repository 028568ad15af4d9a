"""A released model in 8 bits for CPUs: weights and activations, with steps that texts of the corpus have set."""

import logging
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from conan_assets.artifacts import fingerprint_file
from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.evaluation.onnx_export import EMBEDDING, ONNX_FILE, write_onnx

if TYPE_CHECKING:
    import openvino

INT8_FILE = Path("openvino", "openvino_model_qint8_quantized.xml")
"""Where sentence-transformers looks for it in a model's folder; its weights lie beside it as `.bin`."""
CALIBRATION_TEXTS = 300
SMOOTHING = 0.8
"""How much of large activations is moved into the weights, from 0 to 1."""
TELEMETRY = "openvino_telemetry"
"""What OpenVINO and NNCF tell their makers with that they were used; both do without it where it cannot be imported."""


def write_int8(release: Path, documents: Sequence[str], path: Path) -> None:
    """Quantise a released model after its training, by what activations are at ``documents``.

    Large activations are moved into the weights first (SmoothQuant, arXiv 2211.10438), and what loses most in 8 bits
    stays in float: see :func:`_kept_in_float`.
    """
    sys.modules[TELEMETRY] = None  # type: ignore[assignment]
    import nncf
    import openvino

    nncf.set_log_level(logging.WARNING)
    encoder = Encoder(EncoderSettings(str(release), dtype="float32"), "cpu")
    with tempfile.TemporaryDirectory() as folder:
        write_onnx(release, Path(folder, ONNX_FILE))
        whole = openvino.Core().read_model(Path(folder, ONNX_FILE))
        names = [each.any_name for each in whole.inputs]
        samples = [_inputs(encoder, text, names) for text in documents]
        quantised = nncf.quantize(
            whole,
            nncf.Dataset(samples),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(samples),
            model_type=nncf.ModelType.TRANSFORMER,
            ignored_scope=nncf.IgnoredScope(names=_kept_in_float(whole)),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=SMOOTHING)
            ),
        )
        path.parent.mkdir(exist_ok=True)
        openvino.save_model(quantised, path, compress_to_fp16=False)


def _kept_in_float(model: "openvino.Model") -> list[str]:
    """Return the names of attention's products, and of those that narrow: the second of each feed-forward layer."""
    products = [each for each in model.get_ordered_ops() if each.get_type_name() == "MatMul"]
    factors = {each.get_friendly_name(): each.input(1).get_partial_shape() for each in products}
    return [name for name, factor in factors.items() if factor.is_dynamic or _narrows(factor.to_shape())]


def _narrows(shape: Sequence[int]) -> bool:
    return shape[-2] > shape[-1]


def _inputs(encoder: Encoder, document: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    prompt, limit = encoder.prompt("document") or None, encoder.limit("document")
    features = encoder.model.preprocess([document], prompt=prompt, max_length=limit)
    return {name: features[name].numpy() for name in names}


class OpenvinoEncoder(Encoder):
    """An exported model that OpenVINO computes, with the tokenizer and the prompts of the release."""

    def __init__(self, release: EncoderSettings, file: Path) -> None:
        super().__init__(release, "cpu")
        self.file = file

    @cached_property
    def weights_fingerprint(self) -> str:
        """16 hex digits of the weights' file."""
        return fingerprint_file(self.file.with_suffix(".bin"))[:16]

    @cached_property
    def _compiled(self) -> "openvino.CompiledModel":
        sys.modules[TELEMETRY] = None  # type: ignore[assignment]
        import openvino

        return openvino.Core().compile_model(self.file, "CPU", {"INFERENCE_NUM_THREADS": torch.get_num_threads()})

    def compute(self, features: Mapping[str, Any]) -> torch.Tensor:
        """Return the float32 embeddings, of shape (texts, dim), of what ``model.preprocess`` made of a batch."""
        inputs = {each.any_name: features[each.any_name].numpy() for each in self._compiled.inputs}
        return torch.tensor(self._compiled(inputs)[EMBEDDING])
