"""Settings of an encoder: which model, and everything that changes its embeddings."""

from dataclasses import dataclass
from typing import ClassVar, Literal

Dtype = Literal["auto", "float32", "bfloat16", "float16"]

ENCODING_VERSION = 2
"""Raise it when the same weights and settings give other embeddings: no stored one is read again, nor what was made
with it. Version 2 keeps rotary positions exact."""


@dataclass(frozen=True)
class EncoderSettings:
    """A bi-encoder and how its inputs are prepared.

    Attributes
    ----------
    model
        Folder of a sentence-transformers or transformers model, or its name on the Hugging Face Hub.
    revision
        Commit, tag or branch on the hub; None for the default branch.
    query_prompt, document_prompt
        Text put before every query, every document; None for the model's own, "" for none.
    max_tokens
        Longest input in tokens, the rest is cut off; None for the model's own limit.
    dtype
        Type of the weights while encoding; ``auto`` is bfloat16 where this machine computes faster in it, as measured.
    trust_remote_code
        Run code that comes with the model. Only for models you have read.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    model: str
    revision: str | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    max_tokens: int | None = None
    dtype: Dtype = "auto"
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if self.max_tokens is not None and self.max_tokens < 1:
            raise ValueError(
                f"max_tokens is {self.max_tokens}; give a number above 0, or null for the model's own limit"
            )
