"""Settings of training: every constant of a stage, with the papers' values as defaults.

"A" is Conan-embedding (arXiv 2408.15710), "A2" Conan-embedding-v2 (arXiv 2509.12892), "B" NV-Retriever
(arXiv 2407.15831); docs/training.md explains each setting.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

from conan_assets.training.checks import are_weights, require, require_choice

Task = Literal["retrieval", "classification", "sts"]
LossName = Literal["info_nce", "kl_distillation", "margin_mse", "cosent"]
Balance = Literal["cbb", "single_task"]
Rule = Literal["none", "v1", "v2"]
InBatchNegatives = Literal["none", "positives", "documents"]
TrainingDtype = Literal["auto", "float32", "bfloat16"]

BETA = 0.8
DISTILLATION: frozenset[LossName] = frozenset({"kl_distillation", "margin_mse"})
"""Losses that learn a teacher's scores."""


@dataclass(frozen=True)
class DynamicNegativeSettings:
    """When a hard negative that has become easy gives way to the next of its sample's pool.

    Attributes
    ----------
    rule
        ``v1`` replaces a sample's whole set (A), ``v2`` single negatives (A2); ``none`` keeps the first set.
    v1_every_steps, v1_ratio, v1_ceiling, v1_window_offset
        At every such step the set moves on if ``ratio * S < S_init`` and ``|S| < ceiling``; the i-th next set is
        ``pool[(i - 1) * n + offset : i * n + offset]``. None starts right behind the first set.
    v2_floor, v2_ratio, v2_ceiling
        A negative is replaced if ``S_0 < floor``, or if ``ratio * S < S_0`` and ``S < ceiling``.
    guard
        A negative that was swapped in is left out of the loss, and replaced under ``v2``, while the student scores it
        above the positive.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    rule: Rule = "none"
    v1_every_steps: int = 100
    v1_ratio: float = 1.15
    v1_ceiling: float = 0.8
    v1_window_offset: int | None = None
    v2_floor: float = 0.4
    v2_ratio: float = 1.2
    v2_ceiling: float = 0.7
    guard: bool = True

    def __post_init__(self) -> None:
        require_choice(self, "rule", Rule)
        require(self, ("v1_every_steps",), "a number above 0", lambda value: value >= 1)
        require(self, ("v1_ratio", "v2_ratio"), "a ratio not below 1", lambda value: value >= 1)
        require(self, ("v1_window_offset",), "a number not below 0, or null", lambda value: value is None or value >= 0)


@dataclass(frozen=True)
class EarlyStopSettings:
    """When a stage ends before its last step, by nDCG@10 on the samples of ``dev.parquet``.

    Attributes
    ----------
    every_steps
        Steps between two measurements.
    patience
        Measurements without a better value after which the stage ends; it then has the weights of the best one.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    every_steps: int = 100
    patience: int = 3

    def __post_init__(self) -> None:
        require(self, ("every_steps", "patience"), "a number above 0", lambda value: value >= 1)


@dataclass(frozen=True)
class TrainingSettings:
    """One stage of training.

    Attributes
    ----------
    tasks
        Which of the data's tasks the stage trains; those that no loss is named for are left out.
    epochs, max_steps
        Passes over the retrieval samples (or the STS pairs when those are all there is); optimizer steps at most.
    retrieval_batch_size, sts_batch_size
        Queries and STS pairs in one optimizer step, over all processes.
    balance
        ``cbb``: every step trains all tasks (A). ``single_task``: every step trains one, in turn by their sizes.
    sts_processes
        Processes that hold the STS pairs while the others hold the retrieval task, as in A; None shares all texts
        among all processes, which is the same gradient in less time.
    negatives_per_query
        Hard negatives per query and step, over all processes.
    in_batch_negatives
        What else is a negative of a query: ``none``, the other queries' ``positives``, or all their ``documents``.
    false_negative_margin
        Leaves a document out of a query's InfoNCE if its cosine is above the positive's by this; None for never.
    dynamic_negatives
        When hard negatives are replaced during training.
    losses
        Weight of every loss by name. The weight of ``cosent`` is A's beta.
    temperature, cosent_temperature, teacher_temperature
        Divisors of cosines in InfoNCE and the student's side of distillation, in CoSENT, and of the teacher's scores.
    matryoshka_dims, matryoshka_weights
        Lengths that embeddings are cut to, each with its own losses, and their weights (all equal when empty). Only
        the full length when empty; it is always among them.
    learning_rate, warmup_ratio, warmup_steps, weight_decay, max_gradient_norm
        AdamW's peak rate, the share of steps it rises in before it falls linearly to zero (or their number, which goes
        before the share), decay of matrices, and the norm that gradients are clipped to.
    average_last
        Share of the steps, at the end, whose weights are averaged into the result; 0 takes the last step's.
    early_stop
        Ends the stage when it stops getting better; None never does. Excludes ``average_last``.
    dropout
        Probability of every dropout in the model; None for the model's own.
    max_tokens, max_query_tokens
        Longest text and longest query in tokens, prompt included; None for the model's own limit, and for
        ``max_tokens``.
    dtype
        Type that the model computes in, over float32 master weights; ``auto`` is bfloat16 where the hardware has it.
    tokens_per_mini_batch
        Padded tokens that go through the model at once; None for 2,048 on a CPU and 32,768 on a GPU.
    tokens_in_memory
        Padded tokens of a step whose activations are kept; the rest is encoded twice (gradient cache). None keeps all.
    save_every_steps
        Steps between two saved states; a killed run goes on from the last.
    seed
        Decides the order of samples, the positive that is drawn, and dropout.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    tasks: tuple[Task, ...] = ("retrieval", "classification", "sts")
    epochs: float = 1.0
    max_steps: int | None = None
    retrieval_batch_size: int = 32
    sts_batch_size: int = 32
    balance: Balance = "cbb"
    sts_processes: int | None = None
    negatives_per_query: int = 7
    in_batch_negatives: InBatchNegatives = "documents"
    false_negative_margin: float | None = None
    dynamic_negatives: DynamicNegativeSettings = field(default_factory=DynamicNegativeSettings)
    losses: dict[LossName, float] = field(default_factory=lambda: {"info_nce": 1.0, "cosent": BETA})
    temperature: float = 0.02
    cosent_temperature: float = 0.05
    teacher_temperature: float = 0.02
    matryoshka_dims: tuple[int, ...] = ()
    matryoshka_weights: tuple[float, ...] = ()
    learning_rate: float = 1e-5
    warmup_ratio: float = 0.05
    warmup_steps: int | None = None
    weight_decay: float = 0.001
    max_gradient_norm: float = 1.0
    average_last: float = 0.0
    early_stop: EarlyStopSettings | None = None
    dropout: float | None = None
    max_tokens: int | None = None
    max_query_tokens: int | None = None
    dtype: TrainingDtype = "auto"
    tokens_per_mini_batch: int | None = None
    tokens_in_memory: int | None = None
    save_every_steps: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in (("balance", Balance), ("in_batch_negatives", InBatchNegatives), ("dtype", TrainingDtype)):
            require_choice(self, name, choices)
        sizes = ("retrieval_batch_size", "sts_batch_size", "save_every_steps")
        require(self, sizes, "a number above 0", lambda value: value >= 1)
        limits = ("max_steps", "max_tokens", "max_query_tokens", "tokens_per_mini_batch", "sts_processes")
        require(self, limits, "a number above 0, or null", lambda value: value is None or value >= 1)
        temperatures = ("temperature", "cosent_temperature", "teacher_temperature")
        positive = ("epochs", *temperatures, "learning_rate", "max_gradient_norm")
        require(self, positive, "a number above 0", lambda value: value > 0)
        require(self, ("negatives_per_query", "weight_decay", "seed"), "a number not below 0", lambda value: value >= 0)
        optional = ("tokens_in_memory", "false_negative_margin", "warmup_steps")
        require(self, optional, "a number not below 0, or null", lambda value: value is None or value >= 0)
        require(self, ("warmup_ratio", "average_last"), "a share between 0 and 1", lambda value: 0 <= value <= 1)
        require(self, ("dropout",), "a share below 1, or null", lambda value: value is None or 0 <= value < 1)
        known = set(get_args(Task))
        require(
            self,
            ("tasks",),
            "at least one of " + ", ".join(sorted(known)),
            lambda value: value and known.issuperset(value),
        )
        require(self, ("losses",), "losses among " + ", ".join(get_args(LossName)), set(get_args(LossName)).issuperset)
        require(self, ("losses",), "a weight above 0 for one loss or more", lambda value: are_weights(value.values()))
        require(self, ("matryoshka_dims",), "lengths above 0", lambda value: all(dim >= 1 for dim in value))
        if self.matryoshka_weights and len(self.matryoshka_weights) != len(self.matryoshka_dims):
            raise ValueError(
                f"matryoshka_weights has {len(self.matryoshka_weights)} weights for {len(self.matryoshka_dims)} "
                "matryoshka_dims; give one for each, or none"
            )
        if not self.trained_tasks:
            raise ValueError(
                f"losses names {', '.join(self.losses)}, but tasks only {', '.join(self.tasks)}; "
                "cosent trains sts, the other losses retrieval and classification"
            )
        if self.early_stop is not None and self.average_last > 0:
            raise ValueError("early_stop keeps the best weights and average_last the mean ones; give one of them")
        if self.negatives_per_query == 0 and self.dynamic_negatives.rule != "none":
            raise ValueError(f"dynamic_negatives.rule is {self.dynamic_negatives.rule} and negatives_per_query is 0")
        if self.negatives_per_query == 0 and self.in_batch_negatives == "none":
            raise ValueError("negatives_per_query is 0 and in_batch_negatives is none: a query needs a negative")

    @property
    def trained_tasks(self) -> tuple[Task, ...]:
        """The tasks that a loss is named for."""
        of_retrieval = any(name != "cosent" for name in self.losses)
        return tuple(task for task in self.tasks if ("cosent" in self.losses if task == "sts" else of_retrieval))
