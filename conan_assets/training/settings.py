"""Settings of training: every constant of a stage, with the papers' values as defaults.

"A" is Conan-embedding (arXiv 2408.15710), "A2" Conan-embedding-v2 (arXiv 2509.12892), "B" NV-Retriever
(arXiv 2407.15831).
"""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from conan_assets.encoding.settings import STRICT

Task = Literal["retrieval", "classification", "sts"]
LossName = Literal["info_nce", "kl_distillation", "margin_mse", "cosent"]
Balance = Literal["cbb", "single_task"]
DynamicRule = Literal["none", "v1", "v2"]
InBatchNegatives = Literal["none", "positives", "documents"]
TrainingDtype = Literal["auto", "float32", "bfloat16"]

TRAINING_VERSION = 4
"""Raise it when the same model, data and settings give other weights: no checkpoint is reused, no saved state gone on
from. Version 2 keeps rotary positions exact, version 4 sets the dropout of attention by itself."""

CPU_ACTIVATIONS = 5 * 2**28
"""Bytes of a step's activations that a CPU keeps by default: a trainer of MiniLM takes less than 3 GiB."""
BETA = 0.8
DISTILLATION: frozenset[LossName] = frozenset({"kl_distillation", "margin_mse"})
"""Losses that learn a teacher's scores."""


def _default_losses() -> dict[LossName, float]:
    return {"info_nce": 1.0, "cosent": BETA}


@dataclass(frozen=True, config=STRICT)
class DynamicNegativeSettings:
    """When a hard negative that has become easy gives way to the next of its sample's pool.

    S is the cosine of a query to its negatives now, S_0 and S_init when they were first used.
    """

    rule: DynamicRule = Field(
        default="none",
        description="v1 moves a sample's whole set on (A, Dynamic Hard Negative Mining), v2 replaces single negatives "
        "(A2), none keeps the first set.",
    )
    v1_every_steps: int = Field(default=100, ge=1, description="Steps between two looks at the sets (A: 100).")
    v1_ratio: float = Field(default=1.15, ge=1, description="A set moves on if ratio * S < S_init ... (A: 1.15)")
    v1_ceiling: float = Field(default=0.8, ge=-1, le=1, description="... and |S| < ceiling, a cosine (A: 0.8).")
    v1_window_offset: int | None = Field(
        default=None,
        ge=0,
        description="The i-th next set is pool[(i-1)*n + offset : i*n + offset] (A: 10, its guard against false "
        "negatives); null starts right behind the first set, since mining filters them here.",
    )
    v2_floor: float = Field(
        default=0.4, ge=-1, le=1, description="A negative is replaced if S_0 < floor, a cosine (A2: 0.4) ..."
    )
    v2_ratio: float = Field(default=1.2, ge=1, description="... or if ratio * S < S_0 (A2: 1.2) ...")
    v2_ceiling: float = Field(default=0.7, ge=-1, le=1, description="... and S < ceiling, a cosine (A2: 0.7).")
    guard: bool = Field(
        default=True,
        description="A negative that was swapped in is left out of the loss, and replaced under v2, while the student "
        "scores it above the positive. Ours; neither version has a guard.",
    )


@dataclass(frozen=True, config=STRICT)
class EarlyStopSettings:
    """When a stage ends before its last step, by nDCG@10 on the samples of ``dev.parquet``."""

    every_steps: int | None = Field(
        default=None,
        ge=1,
        description="Steps between two measurements, the last is measured too; null for a fifth of the stage.",
    )
    patience: int = Field(
        default=3,
        ge=1,
        description="Measurements without a better value after which the stage ends; it then has the weights of the "
        "best one.",
    )


@dataclass(frozen=True, config=STRICT)
class TrainingSettings:
    """One stage of training."""

    tasks: tuple[Task, ...] = Field(
        default=("retrieval", "classification", "sts"),
        min_length=1,
        description="Which of the data's tasks the stage trains; those that no loss is named for are left out "
        "(B: stage 1 trains retrieval alone).",
    )
    epochs: float = Field(
        default=1.0,
        gt=0,
        description="Passes over the retrieval samples, or the STS pairs when those are all there is.",
    )
    max_steps: int | None = Field(default=None, ge=1, description="Optimizer steps at most; null for all epochs.")
    retrieval_batch_size: int = Field(
        default=32, ge=1, description="Queries per step, over all processes (A, figure 3: 4; B: 32, then 8)."
    )
    sts_batch_size: Annotated[int, Field(ge=1)] | Literal["even"] = Field(
        default=32,
        description="STS pairs per step, over all processes (A, figure 3: 32); even takes so many that a pair is seen "
        "as often as a query.",
    )
    balance: Balance = Field(
        default="cbb",
        description="cbb trains all tasks in every step (A, Cross-GPU Batch Balance Loss); single_task one per step, "
        "in turn by their sizes (A's vanilla arm; Youtu and CoDiEmb argue for it).",
    )
    sts_processes: int | None = Field(
        default=None,
        ge=1,
        description="Processes that hold STS pairs while the others hold retrieval (A, figure 3: 1 of 5); null shares "
        "all texts among all, the same gradient in less time.",
    )
    negatives_per_query: int = Field(
        default=7,
        ge=0,
        description="Hard negatives per query and step, over all processes that compute (A2: 7; B: 4, 1 and 5).",
    )
    retrieval_ranks: int = Field(
        default=1,
        ge=1,
        description="A's retrieval processes, which share queries and positives and hold negatives_per_query negatives "
        "each: a query meets so many times as many (A, equation 3 and figure 3: 4), however many processes compute.",
    )
    in_batch_negatives: InBatchNegatives = Field(
        default="documents",
        description="What else is a negative of a query: none (A's fine-tuning loss), the other queries' positives, or "
        "all their documents (B).",
    )
    false_negative_margin: float | None = Field(
        default=None,
        ge=0,
        le=2,
        description="Leaves a document out of a query's InfoNCE if its cosine is above the positive's by this "
        "(Qwen3-Embedding: 0.1); null for never.",
    )
    dynamic_negatives: DynamicNegativeSettings = Field(
        default=DynamicNegativeSettings(), description="When hard negatives are replaced during training."
    )
    losses: dict[LossName, Annotated[float, Field(gt=0)]] = Field(
        default_factory=_default_losses,
        min_length=1,
        description="Weight of every loss by name; that of cosent is A's beta, 0.8.",
    )
    temperature: float = Field(
        default=0.02,
        gt=0,
        description="Divisor of cosines in InfoNCE and on the student's side of distillation; not stated by A or B.",
    )
    cosent_temperature: float = Field(default=0.05, gt=0, description="Divisor of cosines in CoSENT; not stated by A.")
    teacher_temperature: float = Field(
        default=0.02, gt=0, description="Divisor of the teacher's scores in kl_distillation; ours."
    )
    matryoshka_dims: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(),
        description="Lengths that embeddings are cut to, each with its own losses; the full length is always among "
        "them (A: 256, 512, 768, 1024, 1280, 1536, 1792).",
    )
    matryoshka_weights: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(), description="Weights of the lengths; the loss is the weighted mean, of equals when empty."
    )
    learning_rate: float = Field(default=1e-5, gt=0, description="AdamW's peak rate (A, B: 1e-5).")
    warmup_ratio: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="Share of the steps in which the rate rises before it falls linearly to zero (A: 0.05).",
    )
    warmup_steps: int | None = Field(
        default=None, ge=0, description="Number of those steps, instead of the share (B: 100)."
    )
    weight_decay: float = Field(
        default=0.001, ge=0, description="Decay of matrices; biases and norms do not decay (A: 0.001)."
    )
    max_gradient_norm: float = Field(default=1.0, gt=0, description="Norm that gradients are clipped to; ours.")
    average_last: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Share of the steps, at the end, whose weights are averaged into the result; 0 takes the last "
        "step's (Llama-Embed-Nemotron averages checkpoints).",
    )
    early_stop: EarlyStopSettings | None = Field(
        default=None, description="Ends the stage when it stops getting better; null never does."
    )
    dropout: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="Probability of dropout, but of attention's weights, in the model; null for the model's own.",
    )
    attention_dropout: float | None = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Probability of dropout of attention's weights; null for the model's own. At 0 a CPU needs "
        "less time, and half of the activations of long texts. Ours.",
    )
    max_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Longest text in tokens, prompt included (A, B: 512); null for a length that cuts at most 2 % of "
        "the texts, within the base model's limit.",
    )
    dtype: TrainingDtype = Field(
        default="auto",
        description="Type that the model computes in, over float32 master weights; auto is bfloat16 where the hardware "
        "computes in it, else float32.",
    )
    tokens_per_mini_batch: int | None = Field(
        default=None,
        ge=1,
        description="Padded tokens that go through the model at once; null for 1,024 on a CPU and 32,768 on a GPU.",
    )
    tokens_in_memory: Annotated[int, Field(ge=0)] | Literal["auto", "all"] = Field(
        default="auto",
        description="Padded tokens of a step whose activations are kept; the rest is encoded twice, to the same "
        "gradient (GradCache, arXiv 2101.06983). auto keeps what fits in 1.25 GiB on a CPU and in 80 % of what is free "
        "on a GPU.",
    )
    save_every_minutes: float = Field(
        default=10.0,
        ge=0,
        description="Minutes between two saved states, or more where saving would take over 2 % of the time; 0 saves "
        "after every step. A killed run goes on from the last.",
    )
    seed: int = Field(
        default=0,
        ge=0,
        description="Decides the order of samples, the positive that is drawn, and dropout; later rounds add to it.",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "TrainingSettings":
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
        if self.dynamic_negatives.rule != "none" and self.epochs <= 1:
            raise ValueError(
                f"dynamic_negatives.rule is {self.dynamic_negatives.rule} and epochs is {self.epochs:g}: a replaced "
                "negative is trained on when its sample is drawn again; give more than one epoch, or the rule none"
            )
        if self.negatives_per_query == 0 and self.in_batch_negatives == "none":
            raise ValueError("negatives_per_query is 0 and in_batch_negatives is none: a query needs a negative")
        return self

    @property
    def deciding(self) -> "TrainingSettings":
        """The stage without what changes no weight: it may be set otherwise and a run still goes on, or is reused."""
        return replace(self, tokens_in_memory="auto", save_every_minutes=10.0)

    @property
    def negatives_in_loss(self) -> int:
        """Hard negatives that a query meets in a step: N ranks of n negatives each (A, equation 3)."""
        return self.retrieval_ranks * self.negatives_per_query

    @property
    def trained_tasks(self) -> tuple[Task, ...]:
        """The tasks that a loss is named for."""
        of_retrieval = any(name != "cosent" for name in self.losses)
        return tuple(task for task in self.tasks if ("cosent" in self.losses if task == "sts" else of_retrieval))
