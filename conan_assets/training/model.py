"""The model that is trained: loaded as a sentence-transformers model, saved as one."""

import os
import shutil
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from transformers.utils.logging import disable_progress_bar

from conan_assets.encoding.models import locate_model
from conan_assets.encoding.settings import EncoderSettings

MODEL = "model"
ATTENTION_DROPOUT = "attention_dropout"


def load_model(settings: EncoderSettings, device: str) -> SentenceTransformer:
    """Return the base model in float32 on ``device``, with its length limit set."""
    disable_progress_bar()
    model = SentenceTransformer(
        str(locate_model(settings.model, settings.revision)),
        device=device,
        trust_remote_code=settings.trust_remote_code,
        model_kwargs={"dtype": torch.float32},
    )
    if settings.max_tokens is not None:
        model.max_seq_length = settings.max_tokens
    return model


def set_dropout(model: torch.nn.Module, probability: float) -> None:
    """Set every dropout of ``model``, those inside attention included."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = probability
        elif isinstance(getattr(module, ATTENTION_DROPOUT, None), float):
            setattr(module, ATTENTION_DROPOUT, probability)


def save_model(model: SentenceTransformer, directory: Path) -> Path:
    """Save ``model`` in float32 as ``directory/model``, whole or not at all, and return its path."""
    path = directory / MODEL
    partial = directory / f"{MODEL}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    model.to(torch.float32).save(str(partial), create_model_card=False)
    shutil.rmtree(path, ignore_errors=True)
    os.replace(partial, path)
    return path
