"""Settings of an encoder: which model, and everything that changes its embeddings.

Settings of this room and of training are pydantic dataclasses, so that ``dataclasses.replace`` checks what it changes.
"""

from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
"""Unknown keys and numbers that are none are refused."""

Dtype = Literal["auto", "float32", "bfloat16", "float16"]

ENCODING_VERSION = 2
"""Raise it when the same weights and settings give other embeddings: no stored one is read again, nor what was made
with it. Version 2 keeps rotary positions exact."""


@dataclass(frozen=True, config=STRICT)
class EncoderSettings:
    """A bi-encoder and how its inputs are prepared."""

    model: str = Field(
        min_length=1,
        description="Folder of a sentence-transformers or transformers model, or its name on the Hugging Face Hub.",
    )
    revision: str | None = Field(
        default=None, description="Commit, tag or branch on the hub; null for the default branch."
    )
    query_prompt: str | None = Field(
        default=None, description="Text put before every query; null for the model's own, '' for none."
    )
    document_prompt: str | None = Field(
        default=None, description="Text put before every document; null for the model's own, '' for none."
    )
    max_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Longest input in tokens, the rest is cut off; null for the model's own limit. More than the "
        "model has positions is refused when it is opened.",
    )
    max_query_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Longest query in tokens, prompt included, in mining, training and reports (B: 192); null for the "
        "limit of all texts. A released model has one limit: what serves it cuts queries at that.",
    )
    dtype: Dtype = Field(
        default="auto",
        description="Type of the weights while encoding; auto is bfloat16 where this machine computes faster in it, "
        "as measured.",
    )
    trust_remote_code: bool = Field(
        default=False, description="Run code that comes with the model. Only for models you have read."
    )
