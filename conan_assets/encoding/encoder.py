"""A bi-encoder: texts in, L2-normalised float32 embeddings out, batched by length."""

import hashlib
import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from conan_assets.encoding.loading import cast_parameters, load_model
from conan_assets.encoding.models import fingerprint_model, locate_model
from conan_assets.encoding.precision import choose_dtype
from conan_assets.encoding.prompts import Prompts, prompts_of
from conan_assets.encoding.settings import ENCODING_VERSION, EncoderSettings
from conan_assets.progress import Progress, logger

Role = Literal["query", "document"]

Item = TypeVar("Item")
END: Any = object()

BATCHES_AHEAD = 4
TOKENS_PER_BATCH = {"cpu": 4_096, "cuda": 65_536}
TEXTS_PER_CHUNK = 2_048
"""Texts that are dealt into batches together: what embeddings of a low precision depend on."""


class Encoder:
    """A sentence-transformers model with its prompts, its length limit and its type fixed.

    The model is loaded at the first use, so an encoder whose every text is already stored costs nothing.

    Attributes
    ----------
    texts_cut
        Texts encoded so far that were longer than the limit and lost their ends.
    """

    def __init__(self, settings: EncoderSettings, device: str | None = None) -> None:
        self.settings = settings
        self.path: Path = locate_model(settings.model, settings.revision)
        self._named_device = device
        self.dtype = choose_dtype(settings.dtype, self.device, self.path)
        self.texts_cut = 0

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs to be this encoder; it loads the model itself, on a device of its own."""
        made = {name for name in self.__dict__ if isinstance(getattr(type(self), name, None), cached_property)}
        return {name: value for name, value in self.__dict__.items() if name not in made}

    @cached_property
    def device(self) -> str:
        """Where the model computes: the GPU where this process has one, unless a device was named."""
        return self._named_device or ("cuda" if torch.cuda.is_available() else "cpu")

    @cached_property
    def model(self) -> SentenceTransformer:
        """The loaded model, in evaluation mode, on its device and in its type."""
        model = load_model(self.settings, self.device, self.dtype)
        cast_parameters(model, self.dtype)
        return model.eval()

    @cached_property
    def weights_fingerprint(self) -> str:
        """16 hex digits of the model folder: weights, tokenizer and configuration, whatever its path or name."""
        return fingerprint_model(self.settings.model, self.settings.revision)

    @cached_property
    def _prompts(self) -> Prompts:
        return prompts_of(self.settings)

    def prompt(self, role: Role) -> str:
        """Return the text that goes before every query or document."""
        return self._prompts.query if role == "query" else self._prompts.document

    def namespace(self, role: Role) -> str:
        """Return the fingerprint of all that decides an embedding but the text: the store's key to its rows."""
        shorter = self.settings.max_query_tokens if role == "query" else None
        text = [self.prompt(role), self.settings.max_tokens, *([shorter] if shorter else [])]
        decides = [ENCODING_VERSION, self.weights_fingerprint, *text, str(self.dtype)]
        return hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:16]

    def limit(self, role: Role) -> int | None:
        """Return the tokens that a query or document may have, those of its prompt included."""
        limits = [self.model.max_seq_length, self.settings.max_query_tokens if role == "query" else None]
        return min((limit for limit in limits if limit is not None), default=None)

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], role: Role) -> np.ndarray:
        """Return the embeddings of ``texts``, float32 of shape (len(texts), dim), rows of length 1."""
        progress, cut_before = Progress(f"encoding {role} texts", len(texts)), self.texts_cut
        embeddings = np.empty((len(texts), self.dim), np.float32)
        for rows, features in prepared_ahead(self._prepared(texts, role)):
            embeddings[rows] = torch.nn.functional.normalize(self.compute(features), dim=1).cpu().numpy()
            progress.advance(len(rows))
        if cut := self.texts_cut - cut_before:
            told = "%s of %s %s texts are cut to %s tokens"
            logger.info(told, f"{cut:,}", f"{len(texts):,}", role, self.limit(role))
        return embeddings

    @property
    def dim(self) -> int:
        """Number of components of an embedding."""
        dim = self.model.get_embedding_dimension()
        assert dim is not None
        return dim

    def _prepared(self, texts: Sequence[str], role: Role) -> Iterator[tuple[list[int], Mapping[str, Any]]]:
        """Yield the rows of each batch of texts, and what the model takes in."""
        prompt = self.prompt(role) or None
        for start in range(0, len(texts), TEXTS_PER_CHUNK):
            chunk = texts[start : start + TEXTS_PER_CHUNK]
            for batch in self._batches(chunk, role):
                own = [chunk[i] for i in batch]
                yield (
                    [start + i for i in batch],
                    self.model.preprocess(own, prompt=prompt, max_length=self.limit(role)),
                )

    def compute(self, features: Mapping[str, Any]) -> torch.Tensor:
        """Return the float32 embeddings, of shape (texts, dim), of what ``model.preprocess`` made of a batch."""
        features = {k: v.to(self.device) if isinstance(v, torch.Tensor) else v for k, v in features.items()}
        embeddings: torch.Tensor = self.model(features)["sentence_embedding"].float()
        return embeddings

    def _batches(self, texts: Sequence[str], role: Role) -> Iterator[list[int]]:
        """Yield indices of texts of like length, longest first, each batch within the token budget when padded."""
        prompt = self.prompt(role)
        ids = self.model.tokenizer([prompt + text for text in texts], truncation=True, max_length=self.limit(role))
        self.texts_cut += sum(bool(encoding.overflowing) for encoding in ids.encodings or ())
        lengths = np.array([len(row) for row in ids["input_ids"]])
        budget = TOKENS_PER_BATCH["cuda" if self.device.startswith("cuda") else "cpu"]
        order = np.argsort(-lengths, kind="stable").tolist()
        start = 0
        while start < len(order):
            size = max(1, budget // int(lengths[order[start]]))
            yield order[start : start + size]
            start += size


def prepared_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield items, some of which a thread prepares while those before them are in use."""
    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(next, items, END) for _ in range(BATCHES_AHEAD))
        while (item := waiting.popleft().result()) is not END:
            waiting.append(pool.submit(next, items, END))
            yield item
