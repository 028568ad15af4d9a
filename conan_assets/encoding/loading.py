"""The one way a model is loaded: weights from safetensors alone, code that comes with it only when asked for."""

import logging
from typing import Literal

import torch
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer

from conan_assets.encoding.models import locate_model
from conan_assets.encoding.settings import EncoderSettings

POSITION_TABLES = {"position_embeddings", "embed_positions", "wpe"}
"""What models call their table of positions."""

logger = logging.getLogger("conan_assets")


class DamagedWeightsError(ValueError):
    """A model's weights cannot be read; the message names its folder."""


class TokenLimitError(ValueError):
    """More tokens are asked for than a model takes; the message names both numbers."""


def cast_parameters(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Set the type of the parameters and of nothing else: rotary positions are buffers, and must stay exact."""
    for parameter in model.parameters():
        if parameter.dtype != dtype:
            parameter.data = parameter.data.to(dtype)


def load_model(
    settings: EncoderSettings, device: str = "cpu", dtype: torch.dtype | Literal["auto"] = "auto"
) -> SentenceTransformer:
    """Return the model of ``settings`` on ``device``, with its limit of tokens; ``auto`` is the type it is stored in.

    A decoder whose tokenizer has no token to pad with pads with the end of a text, which no attention looks at.

    Raises
    ------
    ModelNotFoundError
        There is no such model.
    UnsafeWeightsError
        Its weights are pickles, which run code when they are loaded.
    DamagedWeightsError
        Its weights cannot be read.
    TokenLimitError
        ``max_tokens`` is above its positions.
    """
    folder = locate_model(settings.model, settings.revision)
    if settings.trust_remote_code:
        logger.warning("%s: the code that comes with this model is run, as trust_remote_code says", settings.model)
    try:
        model = SentenceTransformer(
            str(folder),
            device=device,
            trust_remote_code=settings.trust_remote_code,
            model_kwargs={"dtype": dtype, "use_safetensors": True},
        )
    except SafetensorError as error:
        raise DamagedWeightsError(
            f"the weights of {settings.model!r} in {folder} are damaged ({error}): fetch or make them again, "
            "after deleting that folder"
        ) from error
    if model.tokenizer.pad_token is None:
        model.tokenizer.pad_token = model.tokenizer.eos_token
    if settings.max_tokens is not None:
        require_positions(model, settings.max_tokens, settings.model)
        model.max_seq_length = settings.max_tokens
    elif (positions := positions_of(model)) is not None and (model.max_seq_length or positions + 1) > positions:
        model.max_seq_length = positions
    return model


def require_positions(model: torch.nn.Module, max_tokens: int, name: str) -> None:
    """Raise TokenLimitError if the model of that name has fewer positions than ``max_tokens``."""
    positions = positions_of(model)
    if positions is not None and max_tokens > positions:
        raise TokenLimitError(
            f"max_tokens is {max_tokens}, above the {positions} positions of {name!r}: give {positions} or less"
        )


def positions_of(model: torch.nn.Module) -> int | None:
    """Return how many tokens a model's table of positions holds; None if it computes positions.

    RoBERTa and its kin count positions from behind the padding's, OPT from an offset of its own.
    """
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Embedding) and name.rpartition(".")[2] in POSITION_TABLES:
            skipped = getattr(module, "offset", 0 if module.padding_idx is None else module.padding_idx + 1)
            return module.num_embeddings - skipped
    return None
