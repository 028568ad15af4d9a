"""Settings of a language model behind an OpenAI-compatible endpoint: which, how fast, and at what price."""

from typing import Any, Literal

from pydantic import Field, model_validator

from conan_assets.schema import Section

BYTES_PER_TOKEN, BYTES_PER_LINE = 8, 1_024


class CallLimits(Section):
    """How fast the endpoint is called, and how patiently."""

    concurrency: int = Field(default=8, ge=1, le=1_000, description="Calls in flight at once.")
    requests_per_minute: int | None = Field(
        default=None, ge=1, le=10_000_000, description="Most requests a minute, retries included; null for no limit."
    )
    tokens_per_minute: int | None = Field(
        default=None, ge=1, description="Most prompt and completion tokens a minute; null for no limit."
    )
    timeout_seconds: float = Field(default=60.0, gt=0, le=86_400, description="Seconds that one call may take.")
    max_retries: int = Field(
        default=5,
        ge=0,
        le=100,
        description="New attempts after a time-out, a dropped connection, 429, 5xx or a reply that is no completion.",
    )
    max_corrections: int = Field(
        default=2, ge=0, le=20, description="New attempts after an invalid answer, with the error shown."
    )


class BatchLimits(Section):
    """How the provider's Batch API is used in ``mode: batch``."""

    poll_seconds: float = Field(default=60.0, gt=0, le=86_400, description="Seconds between two looks at a batch.")
    max_requests: int = Field(
        default=50_000, ge=1, le=1_000_000, description="Requests of one batch; OpenAI takes 50,000."
    )
    max_file_megabytes: float = Field(
        default=200.0, gt=0, le=10_000, description="Megabytes (10^6 bytes) of one batch's input; OpenAI takes 200."
    )


class Budget(Section):
    """What may be spent in all, answers in the journal included; the run stops cleanly before it is exceeded."""

    max_tokens: int | None = Field(
        default=None, ge=1, description="Most prompt and completion tokens together; null for no limit."
    )
    max_cost: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="Most money, in the currency of the prices."
    )
    price_per_million_prompt_tokens: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="Price of 10^6 prompt tokens, in any one currency."
    )
    price_per_million_completion_tokens: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="Price of 10^6 completion tokens, in the same currency."
    )

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


class LanguageModel(Section):
    """A language model behind an OpenAI-compatible endpoint.

    The API key is read from ``$OPENAI_API_KEY`` and from nowhere else.
    """

    model: str = Field(min_length=1, description="Name of the model at the endpoint.")
    base_url: str | None = Field(
        default=None, description="URL of the endpoint; null takes $OPENAI_BASE_URL, or else OpenAI's."
    )
    mode: Literal["chat", "batch"] = Field(
        default="chat", description="Calls one by one, or the provider's Batch API: cheaper, within a day."
    )
    answers_as: str | None = Field(
        default=None,
        description="Name that the answers give the model, where it is another than `model`: of what an alias or a "
        "deployment stands for. Null takes `model`, with or without a date, a tag or an organization.",
    )
    temperature: float | None = Field(
        default=None,
        ge=0,
        le=2,
        description="Temperature of sampling; null leaves it to the endpoint, since newer models refuse it.",
    )
    max_completion_tokens: int = Field(
        default=800, ge=1, le=1_000_000, description="Most tokens of one answer, reasoning included."
    )
    calls: CallLimits = Field(default=CallLimits(), description="Concurrency, rates, time-outs and retries.")
    batch: BatchLimits = Field(default=BatchLimits(), description="How the Batch API is used.")
    budget: Budget = Field(default=Budget(), description="What may be spent in all.")

    @property
    def answering_model(self) -> str:
        """Name of the model that answers."""
        return self.answers_as or self.model

    @property
    def most_bytes_in_flight(self) -> int:
        """Bytes that the journal needs, from above, for the answers to the calls in flight."""
        return self.calls.concurrency * (self.max_completion_tokens * BYTES_PER_TOKEN + BYTES_PER_LINE)

    def answer_recipe(self) -> dict[str, Any]:
        """Return what decides the answers: not how fast, where and at what price they are asked for."""
        prices = {"price_per_million_prompt_tokens", "price_per_million_completion_tokens"}
        return {
            "model": self.answering_model,
            "temperature": self.temperature,
            "max_completion_tokens": self.max_completion_tokens,
            "max_corrections": self.calls.max_corrections,
            "budget": self.budget.model_dump(mode="json", exclude=prices if self.budget.max_cost is None else set()),
        }
