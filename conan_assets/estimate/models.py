"""How big a model is, by its configuration: no weights are loaded."""

import json
from dataclasses import dataclass

from conan_assets.encoding.models import ModelNotFoundError, locate_model


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
        """Return the shape of a folder's model, ``otherwise`` where it is not here; ModelNotFoundError without one."""
        try:
            folder = locate_model(model)
        except ModelNotFoundError:
            if otherwise is None:
                raise
            return otherwise
        path = next(path for path in (folder / "config.json", *sorted(folder.glob("*/config.json"))) if path.exists())
        config = json.loads(path.read_text(encoding="utf-8"))
        width, layers = int(config["hidden_size"]), int(config["num_hidden_layers"])
        inner = int(config.get("intermediate_size") or 4 * width)
        keys = width * int(config.get("num_key_value_heads") or 1) // int(config.get("num_attention_heads") or 1)
        is_decoder = "num_key_value_heads" in config
        attention = 2 * width * width + 2 * width * (keys if is_decoder else width)
        return cls(layers * (attention + (3 if is_decoder else 2) * width * inner), config["vocab_size"] * width, width)
