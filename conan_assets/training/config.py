"""What one training run is told: a directory, a base model and the stages, also as ``config.json``."""

import json
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from conan_assets.artifacts import atomic_path
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.training.architecture import ArchitectureSettings
from conan_assets.training.settings import TrainingSettings

CONFIG = "config.json"
Tracker = Literal["aim", "comet_ml", "mlflow", "tensorboard", "wandb"]

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")


class ConfigError(ValueError):
    """A run's config.json is missing or wrong; the message names the key and what is accepted."""


@dataclass(frozen=True)
class TrainingConfig:
    """A training run.

    Attributes
    ----------
    directory
        Where the run lives: its ``data/`` is read; ``state/``, ``metrics.jsonl`` and ``model/`` are written.
    base_model
        The model to start from, and the prompts and length limit its inputs get.
    stages
        Settings of the stages, trained one after the other.
    architecture
        Changes to the base model.
    trackers
        Names of accelerate's trackers that get the metrics too, if installed.
    """

    directory: Path
    base_model: EncoderSettings
    stages: tuple[TrainingSettings, ...]
    architecture: ArchitectureSettings = field(default_factory=ArchitectureSettings)
    trackers: tuple[Tracker, ...] = ("tensorboard",)

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("stages is empty; give the settings of at least one stage")
        self.architecture.require_one_dtype(self.stages)
        unknown = set(self.trackers) - set(get_args(Tracker))
        if unknown:
            raise ValueError(f"trackers names {min(unknown)!r}; accepted are {', '.join(get_args(Tracker))}")

    def to_json(self) -> str:
        """Return everything but the directory as JSON."""
        values = asdict(self)
        del values["directory"]
        return json.dumps(values, indent=1)


def write_config(config: TrainingConfig) -> Path:
    """Write the run's ``config.json`` into its directory and return its path."""
    path = config.directory / CONFIG
    with atomic_path(path) as temporary:
        temporary.write_text(config.to_json(), encoding="utf-8")
    return path


def read_config(path: Path) -> TrainingConfig:
    """Read a run's ``config.json``; the run's directory is the one it lies in."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as JSON: {error}") from error
    return _build(TrainingConfig, {"directory": str(path.absolute().parent), **values}, str(path))


def _build(record: type[Record], values: object, where: str) -> Record:
    """Return a dataclass made of JSON values; raise ConfigError for unknown or missing keys and wrong values."""
    if not isinstance(values, dict):
        raise ConfigError(f"{where} is {values!r}; give an object")
    hints = {each.name: get_type_hints(record)[each.name] for each in fields(record)}
    required = [each.name for each in fields(record) if each.default is MISSING and each.default_factory is MISSING]
    for key in values:
        if key not in hints:
            raise ConfigError(f"{where}: unknown key {key!r}; accepted are {', '.join(hints)}")
    for key in required:
        if key not in values:
            raise ConfigError(f"{where}: the key {key!r} is missing")
    converted = {key: _convert(hints[key], value, f"{where}: {key}") for key, value in values.items()}
    try:
        return record(**converted)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from error


def _convert(hint: object, value: object, where: str) -> object:
    options = [option for option in get_args(hint) if option is not type(None)] if _is_union(hint) else [hint]
    if value is None and _is_union(hint):
        return None
    for option in options:
        if isinstance(option, type) and is_dataclass(option):
            return _build(option, value, where)
        if option is Path:
            return Path(str(value))
        if get_origin(option) is tuple and (isinstance(value, list) or len(options) == 1):
            return _convert_list(get_args(option)[0], value, where)
    return value


def _convert_list(hint: object, value: object, where: str) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise ConfigError(f"{where} is {value!r}; give a list")
    return tuple(_convert(hint, item, f"{where}[{i}]") for i, item in enumerate(value))


def _is_union(hint: object) -> bool:
    return get_origin(hint) in (Union, UnionType)
