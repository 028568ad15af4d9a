"""The size of a base model made from scratch, and what a run changes in its base model before training.

"A" is Conan-embedding (arXiv 2408.15710), "B" NV-Retriever (arXiv 2407.15831).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

from conan_assets.training.checks import require
from conan_assets.training.settings import TrainingSettings


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adapters instead of full weights; merged into the weights at the end (B: rank 16, alpha 32).

    Attributes
    ----------
    rank, alpha, dropout
        Rank of the update, its scale times the rank, and dropout on its input.
    target_modules
        Names of the linear layers that get an adapter; ``all-linear`` for all of them.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    target_modules: str | tuple[str, ...] = "all-linear"

    def __post_init__(self) -> None:
        require(self, ("rank", "alpha"), "a number above 0", lambda value: value > 0)
        require(self, ("dropout",), "a share below 1", lambda value: 0 <= value < 1)


@dataclass(frozen=True)
class ArchitectureSettings:
    """Changes to the base model.

    Attributes
    ----------
    head_dim
        Length of embeddings after a linear head with bias and no activation (A: 1024 to 1792); None for no head. A
        model that already ends in a head of this length keeps it.
    bidirectional
        Let every token of a decoder attend to all others (B).
    pooling
        How tokens become an embedding: ``mean`` (A and B), ``cls`` or ``lasttoken``; None for the model's own way.
    pool_prompt
        Whether the tokens of a prompt take part in pooling; B leaves them out. None for the model's own way.
    lora
        Train adapters; None trains all weights.
    gradient_checkpointing
        Keep the activations of layer borders alone and recompute the rest.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    head_dim: int | None = None
    bidirectional: bool = False
    pooling: Literal["mean", "cls", "lasttoken"] | None = None
    pool_prompt: bool | None = None
    lora: LoraSettings | None = None
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        require(self, ("head_dim",), "a number above 0, or null", lambda value: value is None or value >= 1)

    def require_one_dtype(self, stages: Iterable[TrainingSettings]) -> None:
        """Raise ValueError if adapters would be trained on base weights that stages round differently."""
        dtypes = sorted({stage.dtype for stage in stages})
        if self.lora is not None and len(dtypes) > 1:
            raise ValueError(f"lora adapts weights rounded to one dtype, and the stages have {' and '.join(dtypes)}")


@dataclass(frozen=True)
class CharacterBertSettings:
    """The size of a BERT with a vocabulary of characters, made from the corpus where no base model can be had.

    Attributes
    ----------
    hidden_size, layers, heads
        Length of embeddings, transformer layers, and attention heads in each. The feed-forward layers are four times
        as wide as ``hidden_size``.
    vocabulary_size
        At most so many characters, the most frequent ones.
    max_tokens
        Longest text in tokens.
    seed
        Decides the random weights.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    hidden_size: int = 128
    layers: int = 2
    heads: int = 4
    vocabulary_size: int = 8_000
    max_tokens: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        sizes = ("hidden_size", "layers", "heads", "vocabulary_size")
        require(self, sizes, "a number above 0", lambda value: value >= 1)
        require(self, ("max_tokens",), "a number above 2, for a text between its marks", lambda value: value > 2)
        require(self, ("seed",), "a number not below 0", lambda value: value >= 0)
        require(self, ("hidden_size",), f"a multiple of heads, {self.heads}", lambda value: value % self.heads == 0)
