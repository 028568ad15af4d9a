"""The one way a model is loaded: weights from safetensors alone, code that comes with it only when asked for."""

import logging
from typing import Literal

import torch
from sentence_transformers import SentenceTransformer

from conan_assets.encoding.models import locate_model
from conan_assets.encoding.settings import EncoderSettings

logger = logging.getLogger("conan_assets")


def cast_parameters(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Set the type of the parameters and of nothing else: rotary positions are buffers, and must stay exact."""
    for parameter in model.parameters():
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
    """
    folder = locate_model(settings.model, settings.revision)
    if settings.trust_remote_code:
        logger.warning("%s: the code that comes with this model is run, as trust_remote_code says", settings.model)
    model = SentenceTransformer(
        str(folder),
        device=device,
        trust_remote_code=settings.trust_remote_code,
        model_kwargs={"dtype": dtype, "use_safetensors": True},
    )
    if model.tokenizer.pad_token is None:
        model.tokenizer.pad_token = model.tokenizer.eos_token
    if settings.max_tokens is not None:
        model.max_seq_length = settings.max_tokens
    return model
