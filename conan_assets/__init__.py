"""Train text-embedding models with more and better negative samples, as one Dagster asset graph.

What a Python user calls stands here; each name is imported when it is first used.

>>> import conan_assets
>>> conan_assets.load_settings("demo", environment={}).rounds
1
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conan_assets.definitions import build_defs
    from conan_assets.encoding.settings import EncoderSettings
    from conan_assets.mining.api import Embedded, mine
    from conan_assets.mining.settings import MiningSettings
    from conan_assets.settings import Settings, SettingsError, load_settings
    from conan_assets.training.config import TrainingConfig
    from conan_assets.training.run import train
    from conan_assets.training.settings import TrainingSettings

__version__ = "0.1.0"

__all__ = [
    "Embedded",
    "EncoderSettings",
    "MiningSettings",
    "Settings",
    "SettingsError",
    "TrainingConfig",
    "TrainingSettings",
    "build_defs",
    "load_settings",
    "mine",
    "train",
]

_HOMES = {
    "definitions": ("build_defs",),
    "encoding.settings": ("EncoderSettings",),
    "mining.api": ("Embedded", "mine"),
    "mining.settings": ("MiningSettings",),
    "settings": ("Settings", "SettingsError", "load_settings"),
    "training.config": ("TrainingConfig",),
    "training.run": ("train",),
    "training.settings": ("TrainingSettings",),
}


def __getattr__(name: str) -> object:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"conan_assets.{module}"), name)
    raise AttributeError(f"module 'conan_assets' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
