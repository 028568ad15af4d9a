"""A released model as a vector a token, distilled with model2vec: the smallest form, and the fastest."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

from conan_assets.encoding.encoder import Encoder, Role

STATIC_COMPONENTS = 256


def write_static(release: Path, folder: Path) -> None:
    """Distil the model into a vector a token, without prompts: their tokens would move all vectors alike."""
    from sentence_transformers.models import StaticEmbedding

    tokens = StaticEmbedding.from_distillation(str(release), device="cpu", pca_dims=STATIC_COMPONENTS)
    SentenceTransformer(modules=[tokens], device="cpu").save(str(folder), create_model_card=False)


class StaticEncoder(Encoder):
    """A model that adds up vectors of tokens: nothing is padded, and no text is too long."""

    @cached_property
    def model(self) -> SentenceTransformer:
        """The loaded model, whose tokenizer is a bare one."""
        return SentenceTransformer(str(self.path), device="cpu").eval()

    def encode(self, texts: Sequence[str], role: Role) -> np.ndarray:
        """Return the embeddings of ``texts``, float32 of shape (len(texts), dim), rows of length 1."""
        embeddings: np.ndarray = self.model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        return embeddings
