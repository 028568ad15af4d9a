"""A step's texts through the model: this process's share in mini-batches, everyone's embeddings, and the way back."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from conan_assets.encoding.loading import TokenLimitError
from conan_assets.encoding.prompts import prompts_of
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.training.fitting import TextLengths, fit_length, fit_memory
from conan_assets.training.gradient_cache import GradientCache, MiniBatch
from conan_assets.training.processes import Processes
from conan_assets.training.settings import TrainingSettings
from conan_assets.training.sharding import is_sharded
from conan_assets.training.texts import Preparation, Text, count_tokens, split_into_mini_batches

TOKENS_PER_MINI_BATCH = {"cpu": 1_024, "cuda": 32_768}


class EncodedTexts:
    """Embeddings of a step's texts.

    Attributes
    ----------
    embeddings
        Of all processes' texts, float32 of shape (texts, dim), a leaf that takes a gradient.
    tokens
        Padded tokens that this process encoded.
    """

    def __init__(self, embeddings: Tensor, cache: GradientCache, rows: list[int], tokens: int) -> None:
        self.embeddings = embeddings.requires_grad_()
        self.tokens = tokens
        self._cache = cache
        self._rows = rows

    def backward(self, gradient: Tensor) -> None:
        """Add to the parameters' gradient what this process's texts contribute, given that of the embeddings."""
        self._cache.backward(gradient[self._rows])


class TextEncoder:
    """The model as training uses it: roles with their prompts and limits, budgets of tokens, and processes.

    Attributes
    ----------
    lengths
        How long the texts of the stage are, and may be.
    tokens_kept, bytes_per_token
        Padded tokens whose activations are kept until their way back (None for all), and what one of them takes;
        known once :meth:`fit` was called.
    pulse
        Called with every mini-batch, for who watches.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        base: EncoderSettings,
        texts: Sequence[str],
        settings: TrainingSettings,
        processes: Processes,
    ) -> None:
        self.model = model
        self.processes = processes
        self.pulse: Callable[[], None] = lambda: None
        prompts = prompts_of(base)
        self.lengths = _fit_length(model, [prompts.document + text for text in texts], settings)
        query_limit = min(base.max_query_tokens or self.lengths.limit, self.lengths.limit)
        self._preparations = [
            Preparation(prompts.query, query_limit),
            Preparation(prompts.document, self.lengths.limit),
        ]
        self._budget = settings.tokens_per_mini_batch or TOKENS_PER_MINI_BATCH[processes.device.type]
        self._is_fitted = settings.tokens_in_memory != "auto"
        self.tokens_kept = settings.tokens_in_memory if isinstance(settings.tokens_in_memory, int) else None
        self.bytes_per_token = 0

    def fit(self, texts: Sequence[Text], rows: Sequence[int]) -> None:
        """Choose how many activations are kept from the memory at hand and a step's texts, unless a setting does."""
        if self._is_fitted:
            return
        mini_batches = self._split(texts, rows, (0,))
        if not mini_batches:
            return
        self.tokens_kept, self.bytes_per_token = fit_memory(
            self._forward, mini_batches, self.model, self.processes.device, self.processes.count
        )
        self._is_fitted = True

    def encode(self, texts: Sequence[Text], rows: Sequence[int], seed: Sequence[int]) -> EncodedTexts:
        """Encode the texts at ``rows`` here, the others elsewhere; ``seed`` decides dropout."""
        self.fit(texts, rows)
        mini_batches = self._split(texts, rows, seed)
        cache = GradientCache(self._forward, mini_batches, self._tokens_kept_of(mini_batches))
        ordered = [row for mini_batch in mini_batches for row in mini_batch.rows]
        embeddings = self._empty(len(texts))
        if mini_batches:
            embeddings[ordered] = cache.embed()
        tokens = sum(mini_batch.tokens for mini_batch in mini_batches if mini_batch.rows)
        return EncodedTexts(self.processes.add(embeddings), cache, ordered, tokens)

    def embed(self, texts: Sequence[Text], rows: Sequence[int]) -> Tensor:
        """Return all processes' embeddings (texts, dim), those at ``rows`` encoded here; call it without gradients."""
        embeddings = self._empty(len(texts))
        for mini_batch in self._split(texts, rows, (0,)):
            embeddings[mini_batch.rows] = self._forward(mini_batch).float()[: len(mini_batch.rows)]
        return self.processes.add(embeddings)

    def _split(self, texts: Sequence[Text], rows: Sequence[int], seed: Sequence[int]) -> list[MiniBatch]:
        """Return the mini-batches of the texts at ``rows``; all processes have as many where they share weights."""
        mini_batches = [*self._mini_batches(texts, rows, seed)]
        if is_sharded(self.model):
            missing = self.processes.most(len(mini_batches)) - len(mini_batches)
            filler = next(self._mini_batches(texts, [0], seed))
            mini_batches += [replace(filler, rows=[])] * missing
        return mini_batches

    def _mini_batches(self, texts: Sequence[Text], rows: Sequence[int], seed: Sequence[int]) -> Iterator[MiniBatch]:
        return split_into_mini_batches(self.model, texts, rows, self._preparations, self._budget, seed)

    def _tokens_kept_of(self, mini_batches: Sequence[MiniBatch]) -> int | None:
        """Return how many tokens are kept: of as many mini-batches as every process keeps where they share weights."""
        if not is_sharded(self.model):
            return self.tokens_kept
        ends = np.cumsum([mini_batch.tokens for mini_batch in mini_batches])
        kept = len(ends) if self.tokens_kept is None else int((ends <= self.tokens_kept).sum())
        common = -self.processes.most(-kept)
        return int(ends[common - 1]) if common else 0

    def _empty(self, count: int) -> Tensor:
        return torch.zeros(count, self.model.get_embedding_dimension() or 0, device=self.processes.device)

    def _forward(self, mini_batch: MiniBatch) -> Tensor:
        self.pulse()
        features = {
            name: value.to(self.processes.device, non_blocking=True) if isinstance(value, Tensor) else value
            for name, value in mini_batch.features.items()
        }
        embeddings: Tensor = self.model(features)["sentence_embedding"]
        return embeddings


def _fit_length(model: SentenceTransformer, texts: Sequence[str], settings: TrainingSettings) -> TextLengths:
    """Return the limit of tokens for texts like ``texts``; raise TokenLimitError for more than the base model has."""
    most = model.max_seq_length or model.tokenizer.model_max_length
    if settings.max_tokens is not None and settings.max_tokens > most:
        raise TokenLimitError(f"training's max_tokens is {settings.max_tokens}, above the {most} of the base model")
    return fit_length(count_tokens(model, texts), settings.max_tokens, most)
