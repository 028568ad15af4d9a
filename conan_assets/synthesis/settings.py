"""Settings of the generators that write prompt-response pairs."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Generation(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NoGeneration(_Generation):
    """No pairs are written."""

    kind: Literal["none"]


class ExtractiveGeneration(_Generation):
    """Inverse cloze: a sentence of a passage is the query for that passage; needs no model and no endpoint."""

    kind: Literal["extractive"]
    max_pairs: int = Field(default=500, ge=1, description="At most this many pairs.")
    seed: int = Field(default=0, ge=0, description="Chooses the passages and the sentences.")
    min_sentence_chars: int = Field(default=30, ge=1)
    max_sentence_chars: int = Field(default=200, ge=1)


class CallLimits(_Generation):
    """How fast the endpoint is called, and how patiently."""

    concurrency: int = Field(default=8, ge=1, le=1_000, description="Calls in flight at once.")
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1, description="Prompt and completion tokens together.")
    timeout_seconds: float = Field(default=60.0, gt=0, description="For one call.")
    max_retries: int = Field(
        default=5, ge=0, description="By the SDK, after time-outs, dropped connections, 429 and 5xx."
    )
    max_corrections: int = Field(
        default=2, ge=0, description="New attempts after an invalid answer, with the error shown."
    )


class Budget(_Generation):
    """What may be spent in all, answers in the journal included; generation stops cleanly before it is exceeded."""

    max_tokens: int | None = Field(default=None, ge=1, description="Prompt and completion tokens together.")
    max_cost: float | None = Field(default=None, gt=0, description="In the currency of the prices.")
    price_per_million_prompt_tokens: float = Field(default=0.0, ge=0)
    price_per_million_completion_tokens: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _has_prices_for_a_cost(self) -> "Budget":
        if self.max_cost is not None and not (
            self.price_per_million_prompt_tokens or self.price_per_million_completion_tokens
        ):
            raise ValueError("max_cost needs price_per_million_prompt_tokens and price_per_million_completion_tokens")
        return self

    def price(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return what so many tokens cost."""
        return (
            prompt_tokens * self.price_per_million_prompt_tokens
            + completion_tokens * self.price_per_million_completion_tokens
        ) / 1e6


class OpenAIGeneration(_Generation):
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
    max_pairs: int = Field(default=500, ge=1, description="At most this many pairs.")
    pairs_per_passage: int = Field(default=2, ge=1, le=20, description="Pairs asked for in one call.")
    seed: int = Field(default=0, ge=0, description="Chooses the passages and varies the prompts.")
    prompt_language: Literal["en", "zh"] = Field(default="en", description="Language of the prompts.")
    max_passage_chars: int = Field(default=4_000, ge=100, description="A longer passage is cut in the prompt.")
    temperature: float = Field(default=0.7, ge=0, le=2)
    max_completion_tokens: int = Field(default=800, ge=1, description="Tokens that one answer may have.")
    calls: CallLimits = CallLimits()
    budget: Budget = Budget()


GenerationSettings = Annotated[NoGeneration | ExtractiveGeneration | OpenAIGeneration, Field(discriminator="kind")]
