"""Settings of the generators that write prompt-response pairs."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Generator(_Section):
    def recipe(self) -> dict[str, Any]:
        """Return what decides the pairs."""
        return self.model_dump(mode="json")


class NoGeneration(_Generator):
    """No pairs are written."""

    kind: Literal["none"]


class ExtractiveGeneration(_Generator):
    """Inverse cloze: a sentence of a passage is the query for that passage; needs no model and no endpoint."""

    kind: Literal["extractive"]
    max_pairs: int = Field(default=500, ge=1, description="At most this many pairs.")
    seed: int = Field(default=0, ge=0, description="Chooses the passages and the sentences.")
    min_sentence_chars: int = Field(default=30, ge=1)
    max_sentence_chars: int = Field(default=200, ge=1)


class CallLimits(_Section):
    """How fast the endpoint is called, and how patiently."""

    concurrency: int = Field(default=8, ge=1, le=1_000, description="Calls in flight at once.")
    requests_per_minute: int | None = Field(default=None, ge=1, description="The SDK's retries included.")
    tokens_per_minute: int | None = Field(default=None, ge=1, description="Prompt and completion tokens together.")
    timeout_seconds: float = Field(default=60.0, gt=0, description="For one call.")
    max_retries: int = Field(
        default=5, ge=0, description="By the SDK, after time-outs, dropped connections, 429 and 5xx."
    )
    max_corrections: int = Field(
        default=2, ge=0, description="New attempts after an invalid answer, with the error shown."
    )


class BatchLimits(_Section):
    """How the provider's Batch API is used in ``mode: batch``."""

    poll_seconds: float = Field(default=60.0, gt=0, description="Between two looks at a batch.")
    max_requests: int = Field(default=50_000, ge=1, description="Requests of one batch; OpenAI takes 50,000.")
    max_file_megabytes: float = Field(default=200.0, gt=0, description="Of one batch's input; OpenAI takes 200.")


class Budget(_Section):
    """What may be spent in all, answers in the journal included; generation stops cleanly before it is exceeded."""

    max_tokens: int | None = Field(default=None, ge=1, description="Prompt and completion tokens together.")
    max_cost: float | None = Field(default=None, gt=0, description="In the currency of the prices.")
    price_per_million_prompt_tokens: float = Field(default=0.0, ge=0)
    price_per_million_completion_tokens: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _has_prices_for_a_cost(self) -> "Budget":
        if self.max_cost is not None and not self.has_prices:
            raise ValueError("max_cost needs price_per_million_prompt_tokens and price_per_million_completion_tokens")
        return self

    @property
    def has_prices(self) -> bool:
        """Whether tokens cost anything."""
        return bool(self.price_per_million_prompt_tokens or self.price_per_million_completion_tokens)

    def price(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return what so many tokens cost."""
        return (
            prompt_tokens * self.price_per_million_prompt_tokens
            + completion_tokens * self.price_per_million_completion_tokens
        ) / 1e6


class Gates(_Section):
    """What a written pair must pass; the others are removed and counted by reason."""

    teacher: str | None = Field(
        default=None,
        description="One of the programme's teachers, bm25 or bi_encoder: for each question it must find the passage. "
        "Null leaves out the round trip and the score.",
    )
    top_k: int = Field(default=10, ge=1, description="Among so many first documents it must find it.")
    min_teacher_score: float = Field(
        default=0.4, ge=-1, le=1, description="Least cosine of a query and its passage or response; not with bm25."
    )
    near_duplicate_jaccard: float = Field(
        default=0.7, gt=0, le=1, description="Queries about one passage at least this similar are near-duplicates."
    )
    examples_per_reason: int = Field(default=3, ge=0, le=50, description="Rejected pairs of each reason in the report.")


class OpenAIGeneration(_Generator):
    """Pairs written by a model behind an OpenAI-compatible endpoint.

    The API key is read from ``$OPENAI_API_KEY`` and from nowhere else.
    """

    kind: Literal["openai"]
    model: str = Field(min_length=1, description="Name of the model at the endpoint.")
    base_url: str | None = Field(default=None, description="Endpoint; null takes $OPENAI_BASE_URL, or else OpenAI's.")
    tasks: tuple[Literal["question", "instruction", "sts"], ...] = Field(
        default=("question",),
        min_length=1,
        description="What is written from a passage, in turn: questions it answers, prompts with responses, graded "
        "sentence pairs.",
    )
    mode: Literal["chat", "batch"] = Field(
        default="chat", description="Calls one by one, or the provider's Batch API: cheaper, within a day."
    )
    max_pairs: int = Field(default=500, ge=1, description="Write this many pairs at most; the gates remove some.")
    pairs_per_passage: int = Field(default=2, ge=1, le=20, description="Pairs asked for in one call.")
    seed: int = Field(default=0, ge=0, description="Chooses the passages and varies the prompts.")
    prompt_language: Literal["en", "zh"] = Field(default="en", description="Language of the prompts.")
    max_passage_chars: int = Field(default=4_000, ge=100, description="A longer passage is cut in the prompt.")
    temperature: float = Field(default=0.7, ge=0, le=2)
    max_completion_tokens: int = Field(default=800, ge=1, description="Tokens that one answer may have.")
    calls: CallLimits = CallLimits()
    batch: BatchLimits = BatchLimits()
    budget: Budget = Budget()
    gates: Gates = Gates()

    def recipe(self) -> dict[str, Any]:
        """Return what decides the pairs: not how fast, where and at what price they are asked for."""
        prices = {"price_per_million_prompt_tokens", "price_per_million_completion_tokens"}
        return self.model_dump(
            mode="json",
            exclude={
                "base_url": True,
                "mode": True,
                "batch": True,
                "calls": set(CallLimits.model_fields) - {"max_corrections"},
                "budget": prices if self.budget.max_cost is None else set(),
                "gates": {"examples_per_reason"},
            },
        )


GenerationSettings = Annotated[NoGeneration | ExtractiveGeneration | OpenAIGeneration, Field(discriminator="kind")]
