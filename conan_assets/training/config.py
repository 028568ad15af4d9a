"""What one training run is told: a directory, a base model and the stages, also as ``config.json``."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from conan_assets.encoding.settings import STRICT, EncoderSettings
from conan_assets.files import atomic_path
from conan_assets.schema import explain
from conan_assets.training.architecture import ArchitectureSettings
from conan_assets.training.settings import TrainingSettings

CONFIG = "config.json"
HOW_TO_SHARE = (
    "$CONAN_HOME, or with a home in a bucket $CONAN_CACHE, under the same path: put it on a file system that all "
    "share, see docs/ray.md"
)
Tracker = Literal["aim", "comet_ml", "mlflow", "tensorboard", "wandb"]


class ConfigError(ValueError):
    """A run's config.json is missing or wrong; the message names the key and what is accepted."""


@dataclass(frozen=True, config=STRICT)
class TrainingConfig:
    """A training run."""

    directory: Path = Field(
        description="Where the run lives: its data/ is read; state/, metrics.jsonl and model/ are written."
    )
    base_model: EncoderSettings = Field(
        description="The model to start from, and the prompts and length limit its inputs get."
    )
    stages: tuple[TrainingSettings, ...] = Field(
        min_length=1, description="Settings of the stages, trained one after the other."
    )
    architecture: ArchitectureSettings = Field(
        default=ArchitectureSettings(), description="What training changes in the base model."
    )
    trackers: tuple[Tracker, ...] = Field(
        default=("tensorboard",), description="accelerate's trackers that get the metrics too, if installed."
    )
    shard_weights: bool = Field(
        default=False,
        description="Each process holds its part of weights, gradients and AdamW's moments alone (FSDP2), for models "
        "that do not fit one GPU.",
    )

    @model_validator(mode="after")
    def _adapters_see_one_base(self) -> "TrainingConfig":
        self.architecture.require_one_dtype(self.stages, self.shard_weights)
        return self

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
    except FileNotFoundError as error:
        raise ConfigError(f"{path} is not there: every machine that trains must see {HOW_TO_SHARE}") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds {values!r}; give an object with base_model and stages")
    adapter = TypeAdapter(TrainingConfig)
    try:
        return adapter.validate_python({**values, "directory": path.absolute().parent})
    except ValidationError as error:
        problems = explain(error, adapter.json_schema(), values)
        raise ConfigError("\n  ".join([f"{path} is wrong:", *problems])) from None
