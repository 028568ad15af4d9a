"""Other forms of a released model, smaller or faster: each a folder as the release's, with other weights."""

import importlib.util
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file, save_file

from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.evaluation.onnx_export import ONNX_FILE, OnnxEncoder, write_onnx
from conan_assets.evaluation.openvino_export import INT8_FILE, OpenvinoEncoder, write_int8
from conan_assets.evaluation.settings import EvaluationError, ModelExport
from conan_assets.evaluation.static_export import StaticEncoder, write_static

PACKAGES: dict[ModelExport, tuple[str, ...]] = {
    "float16": (),
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "openvino_int8": ("nncf", "onnx", "onnxscript", "openvino"),
    "static": ("model2vec", "skeletoken"),
}
"""What writes each form and computes it."""
WEIGHTS = (".safetensors", ".onnx", ".bin")


def write_export(kind: ModelExport, release: Path, folder: Path, documents: Sequence[str] = ()) -> None:
    """Write a released model in another form; ``documents`` are what one in int8 is calibrated with.

    Raises
    ------
    EvaluationError
        The packages that write it are not installed.
    """
    missing = [name for name in PACKAGES[kind] if importlib.util.find_spec(name) is None]
    if missing:
        raise EvaluationError(
            f"release.exports has {kind}, which needs {', '.join(missing)}: pip install 'conan-assets[exports]' "
            "--constraint constraints.txt"
        )
    if kind == "float16":
        _write_float16(release, folder)
    elif kind == "static":
        write_static(release, folder)
    else:
        shutil.copytree(release, folder, ignore=shutil.ignore_patterns("*.safetensors"), dirs_exist_ok=True)
        if kind == "onnx":
            write_onnx(release, folder / ONNX_FILE)
        else:
            write_int8(release, documents, folder / INT8_FILE)


def _write_float16(release: Path, folder: Path) -> None:
    shutil.copytree(release, folder, dirs_exist_ok=True)
    for path in folder.rglob("*.safetensors"):
        halves = {name: value.half() if value.is_floating_point() else value for name, value in load_file(path).items()}
        save_file(halves, path, metadata={"format": "pt"})
    config = folder / "config.json"
    types = {"dtype": "float16", "torch_dtype": "float16"}
    config.write_text(json.dumps(json.loads(config.read_text(encoding="utf-8")) | types, indent=2), encoding="utf-8")


def open_export(kind: ModelExport, release: EncoderSettings, folder: Path) -> Encoder:
    """Return what :func:`write_export` wrote as an encoder."""
    if kind == "float16":
        return Encoder(EncoderSettings(str(folder), dtype="float16"))
    if kind == "static":
        return StaticEncoder(EncoderSettings(str(folder), dtype="float32"), "cpu")
    if kind == "onnx":
        return OnnxEncoder(release, folder / ONNX_FILE)
    return OpenvinoEncoder(release, folder / INT8_FILE)


def megabytes_of(folder: Path) -> float:
    """Return the size of a model's weights in 10^6 bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.suffix in WEIGHTS) / 1e6
