"""How big a model is, by its configuration: no weights are loaded."""

from dataclasses import dataclass
from pathlib import Path

from conan_assets.encoding.models import ModelNotFoundError, config_of, locate_model, width_of


@dataclass(frozen=True)
class ModelShape:
    """The size of an encoder.

    Attributes
    ----------
    parameters, embeddings
        Weights of its layers, which every token passes, and of its table of tokens.
    width
        Components of an embedding.
    """

    parameters: float
    embeddings: float
    width: int

    @classmethod
    def of(cls, model: str, otherwise: "ModelShape | None" = None) -> "ModelShape":
        """Return a model's shape, ``otherwise`` where it is not known; ModelNotFoundError without one."""
        try:
            return cls._in(locate_model(model))
        except ModelNotFoundError:
            if otherwise is None:
                raise
            return otherwise

    @classmethod
    def _in(cls, folder: Path) -> "ModelShape":
        config, width = config_of(folder), width_of(folder)
        layers = _named(folder, "num_hidden_layers", "n_layers", "num_layers", "n_layer")
        inner = int(config.get("intermediate_size") or config.get("hidden_dim") or 4 * width)
        keys = width * int(config.get("num_key_value_heads") or 1) // int(config.get("num_attention_heads") or 1)
        is_decoder = "num_key_value_heads" in config
        attention = 2 * width * width + 2 * width * (keys if is_decoder else width)
        a_layer = attention + (3 if is_decoder else 2) * width * inner
        return cls(layers * a_layer, _named(folder, "vocab_size") * width, width)


def _named(folder: Path, *names: str) -> int:
    """Return the number that a model's configuration has under one of these names."""
    config = config_of(folder)
    for name in names:
        if name in config:
            return int(config[name])
    raise ModelNotFoundError(
        f"the configuration in {folder} does not tell {names[0]}: how big the model is, is not known"
    )
