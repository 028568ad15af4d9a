"""Settings of training: every constant of a stage, with the papers' values as defaults.

"A" is Conan-embedding (arXiv 2408.15710), "B" NV-Retriever (arXiv 2407.15831); docs/training.md explains each setting.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

LossName = Literal["info_nce", "cosent"]
InBatchNegatives = Literal["none", "positives", "documents"]
TrainingDtype = Literal["auto", "float32", "bfloat16"]

PAPER_LOSSES: Mapping[LossName, float] = {"info_nce": 1.0, "cosent": 0.8}


@dataclass(frozen=True)
class TrainingSettings:
    """One stage of training.

    Attributes
    ----------
    epochs, max_steps
        Passes over the retrieval samples (or the STS pairs when those are all there is); optimizer steps at most.
    retrieval_batch_size, sts_batch_size
        Queries and STS pairs in one optimizer step, over all processes.
    negatives_per_query
        Hard negatives per query and step, over all processes.
    in_batch_negatives
        What else is a negative of a query: ``none``, the other queries' ``positives``, or all their ``documents``.
    losses
        Weight of every loss by name. The weight of ``cosent`` is the paper's beta (A 3.3).
    temperature, cosent_temperature
        Divisors of cosines in InfoNCE and in CoSENT.
    matryoshka_dims
        Lengths that embeddings are cut to, each with its own loss; the stage's loss is their mean. None but the full
        length when empty.
    learning_rate, warmup_ratio, weight_decay, max_gradient_norm
        AdamW's peak rate, the share of steps it rises in before it falls linearly to zero, decay of matrices, and the
        norm that gradients are clipped to.
    dropout
        Probability of every dropout in the model; None for the model's own.
    max_tokens, max_query_tokens
        Longest text and longest query in tokens, prompt included; None for the model's own limit, and for
        ``max_tokens``.
    dtype
        Type that the model computes in, over float32 master weights; ``auto`` is bfloat16 where the hardware has it.
    tokens_per_mini_batch
        Padded tokens that go through the model at once; None for 2,048 on a CPU and 32,768 on a GPU.
    save_every_steps
        Steps between two saved states; a killed run goes on from the last.
    seed
        Decides the order of samples, the positive that is drawn, and dropout.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    epochs: float = 1.0
    max_steps: int | None = None
    retrieval_batch_size: int = 32
    sts_batch_size: int = 32
    negatives_per_query: int = 7
    in_batch_negatives: InBatchNegatives = "documents"
    losses: dict[LossName, float] = field(default_factory=lambda: dict(PAPER_LOSSES))
    temperature: float = 0.02
    cosent_temperature: float = 0.05
    matryoshka_dims: tuple[int, ...] = ()
    learning_rate: float = 1e-5
    warmup_ratio: float = 0.05
    weight_decay: float = 0.001
    max_gradient_norm: float = 1.0
    dropout: float | None = None
    max_tokens: int | None = None
    max_query_tokens: int | None = None
    dtype: TrainingDtype = "auto"
    tokens_per_mini_batch: int | None = None
    save_every_steps: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("retrieval_batch_size", "sts_batch_size", "save_every_steps"):
            _require(name, getattr(self, name), "a number above 0", getattr(self, name) >= 1)
        for name in ("max_steps", "max_tokens", "max_query_tokens", "tokens_per_mini_batch"):
            value = getattr(self, name)
            _require(name, value, "a number above 0, or null", value is None or value >= 1)
        for name in ("epochs", "temperature", "cosent_temperature", "learning_rate", "max_gradient_norm"):
            _require(name, getattr(self, name), "a number above 0", getattr(self, name) > 0)
        for name in ("negatives_per_query", "weight_decay", "seed"):
            _require(name, getattr(self, name), "a number not below 0", getattr(self, name) >= 0)
        _require("warmup_ratio", self.warmup_ratio, "a share between 0 and 1", 0 <= self.warmup_ratio <= 1)
        _require("dropout", self.dropout, "a share below 1, or null", self.dropout is None or 0 <= self.dropout < 1)
        _require("losses", self.losses, "a weight above 0 for at least one loss", _are_weights(self.losses.values()))
        _require("matryoshka_dims", self.matryoshka_dims, "lengths above 0", all(dim >= 1 for dim in self.matryoshka_dims))
        if self.negatives_per_query == 0 and self.in_batch_negatives == "none":
            raise ValueError("negatives_per_query is 0 and in_batch_negatives is none: a query needs a negative")


def _are_weights(weights: Iterable[float]) -> bool:
    values = list(weights)
    return bool(values) and all(weight > 0 for weight in values)


def _require(name: str, value: object, accepted: str, holds: bool) -> None:
    if not holds:
        raise ValueError(f"{name} is {value!r}; give {accepted}")
