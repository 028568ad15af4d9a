"""A step's texts through the model: this process's share in mini-batches, everyone's embeddings, and the way back."""

from collections.abc import Sequence

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from conan_assets.encoding.loading import TokenLimitError
from conan_assets.encoding.prompts import prompts_of
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.training.gradient_cache import GradientCache, MiniBatch
from conan_assets.training.processes import Processes
from conan_assets.training.settings import TrainingSettings
from conan_assets.training.texts import Preparation, Text, split_into_mini_batches

TOKENS_PER_MINI_BATCH = {"cpu": 2_048, "cuda": 32_768}


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
    """The model as training uses it: roles with their prompts and limits, budgets of tokens, and processes."""

    def __init__(
        self, model: SentenceTransformer, base: EncoderSettings, settings: TrainingSettings, processes: Processes
    ) -> None:
        self.model = model
        self.processes = processes
        self._preparations = _preparations(model, base, settings)
        self._budget = settings.tokens_per_mini_batch or TOKENS_PER_MINI_BATCH[processes.device.type]
        self._tokens_in_memory = settings.tokens_in_memory

    def encode(self, texts: Sequence[Text], rows: Sequence[int], seed: Sequence[int]) -> EncodedTexts:
        """Encode the texts at ``rows`` here, the others elsewhere; ``seed`` decides dropout."""
        mini_batches = list(split_into_mini_batches(self.model, texts, rows, self._preparations, self._budget, seed))
        cache = GradientCache(self._forward, mini_batches, self._tokens_in_memory)
        ordered = [row for mini_batch in mini_batches for row in mini_batch.rows]
        embeddings = self._empty(len(texts))
        if ordered:
            embeddings[ordered] = cache.embed()
        tokens = sum(mini_batch.tokens for mini_batch in mini_batches)
        return EncodedTexts(self.processes.add(embeddings), cache, ordered, tokens)

    def embed(self, texts: Sequence[Text], rows: Sequence[int]) -> Tensor:
        """Return all processes' embeddings (texts, dim), those at ``rows`` encoded here; call it without gradients."""
        embeddings = self._empty(len(texts))
        for mini_batch in split_into_mini_batches(self.model, texts, rows, self._preparations, self._budget, (0,)):
            embeddings[mini_batch.rows] = self._forward(mini_batch).float()
        return self.processes.add(embeddings)

    def _empty(self, count: int) -> Tensor:
        return torch.zeros(count, self.model.get_embedding_dimension() or 0, device=self.processes.device)

    def _forward(self, mini_batch: MiniBatch) -> Tensor:
        features = {
            name: value.to(self.processes.device, non_blocking=True) if isinstance(value, Tensor) else value
            for name, value in mini_batch.features.items()
        }
        return self.model(features)["sentence_embedding"]


def _preparations(model: SentenceTransformer, base: EncoderSettings, settings: TrainingSettings) -> list[Preparation]:
    """Return how queries (role 0) and documents (role 1) are prepared."""
    model_limit = model.max_seq_length or model.tokenizer.model_max_length
    for name in ("max_tokens", "max_query_tokens"):
        asked = getattr(settings, name)
        if asked is not None and asked > model_limit:
            raise TokenLimitError(f"training's {name} is {asked}, above the {model_limit} tokens of the base model")
    limit = settings.max_tokens or model_limit
    query_limit = settings.max_query_tokens or limit
    prompts = prompts_of(base)
    return [Preparation(prompts.query, query_limit), Preparation(prompts.document, limit)]
