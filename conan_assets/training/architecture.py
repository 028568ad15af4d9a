"""The size of a base model made from scratch, and what a run changes in its base model before training.

"A" is Conan-embedding (arXiv 2408.15710), "B" NV-Retriever (arXiv 2407.15831).
"""

from collections.abc import Iterable
from typing import Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from conan_assets.encoding.settings import STRICT
from conan_assets.training.settings import TrainingSettings

CHARACTER_BERT_VERSION = 1
"""Raise it when the same texts and settings make another base model from scratch."""


@dataclass(frozen=True, config=STRICT)
class LoraSettings:
    """Low-rank adapters instead of full weights; merged into the weights at the end."""

    rank: int = Field(default=16, ge=1, description="Rank of the update (B: 16).")
    alpha: int = Field(default=32, ge=1, description="Scale of the update, times the rank (B: 32).")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Probability of dropout on the update's input.")
    target_modules: str | tuple[str, ...] = Field(
        default="all-linear", description="Names of the linear layers that get an adapter; all-linear for all of them."
    )


@dataclass(frozen=True, config=STRICT)
class ArchitectureSettings:
    """Changes to the base model."""

    head_dim: int | None = Field(
        default=None,
        ge=1,
        description="Length of embeddings after a linear head with bias and no activation (A: 1024 to 1792); null for "
        "no head. A model that already ends in a head of this length keeps it.",
    )
    bidirectional: bool = Field(default=False, description="Let every token of a decoder attend to all others (B).")
    pooling: Literal["mean", "cls", "lasttoken"] | None = Field(
        default=None, description="How tokens become an embedding (A and B: mean); null for the model's own way."
    )
    pool_prompt: bool | None = Field(
        default=None,
        description="Whether the tokens of a prompt take part in pooling (B: false); null for the model's own way.",
    )
    lora: LoraSettings | None = Field(default=None, description="Train adapters (B); null trains all weights.")
    gradient_checkpointing: bool = Field(
        default=False, description="Keep the activations of layer borders alone and recompute the rest: less memory."
    )

    def require_one_dtype(self, stages: Iterable[TrainingSettings], shard_weights: bool) -> None:
        """Raise ValueError if stages round differently what is rounded once: adapters' base weights, or shared ones."""
        dtypes = sorted({stage.dtype for stage in stages})
        if shard_weights and self.lora is not None:
            raise ValueError(
                "shard_weights shares out weights that are all trained, and lora trains few: set one of them"
            )
        if shard_weights and len(dtypes) > 1:
            raise ValueError(f"shard_weights gathers weights in one dtype, and the stages have {' and '.join(dtypes)}")
        if self.lora is not None and len(dtypes) > 1:
            raise ValueError(f"lora adapts weights rounded to one dtype, and the stages have {' and '.join(dtypes)}")


@dataclass(frozen=True, config=STRICT)
class CharacterBertSettings:
    """The size of a BERT with a vocabulary of characters, made from the corpus where no base model can be had."""

    hidden_size: int = Field(
        default=128, ge=1, description="Length of embeddings; feed-forward layers are four times as wide."
    )
    layers: int = Field(default=2, ge=1, description="Transformer layers.")
    heads: int = Field(default=4, ge=1, description="Attention heads in each layer; hidden_size is a multiple of it.")
    vocabulary_size: int = Field(default=8_000, ge=1, description="At most so many characters, the most frequent ones.")
    max_tokens: int = Field(default=512, ge=3, description="Longest text in tokens, with the marks at both ends.")
    seed: int = Field(default=0, ge=0, description="Decides the random weights.")

    @model_validator(mode="after")
    def _heads_divide_the_size(self) -> "CharacterBertSettings":
        if self.hidden_size % self.heads:
            raise ValueError(f"hidden_size is {self.hidden_size}; give a multiple of heads, {self.heads}")
        return self
