"""The loss of a batch: every task's losses at their weights, added up."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from conan_assets.training.batches import Batch, RetrievalBatch
from conan_assets.training.losses import cosent, cosines, info_nce
from conan_assets.training.settings import TrainingSettings


@dataclass(frozen=True)
class Loss:
    """A batch's loss and what it was made of.

    Attributes
    ----------
    total
        Weighted sum of all losses, a scalar with a graph.
    parts
        The value of each loss by name, unweighted.
    scores
        Cosines of queries and documents at full length, shape (queries, documents), without a graph; None without a
        retrieval task.
    """

    total: Tensor
    parts: dict[str, Tensor]
    scores: Tensor | None


def batch_loss(embeddings: Tensor, batch: Batch, settings: TrainingSettings) -> Loss:
    """Return the loss of ``batch`` over the embeddings (texts, dim) of its texts."""
    parts: dict[str, Tensor] = {}
    scores = None
    dims = sorted({*(dim for dim in settings.matryoshka_dims if dim < embeddings.shape[1]), embeddings.shape[1]})
    for dim in dims:
        cut = embeddings[:, :dim]
        if batch.retrieval is not None:
            scores = cosines(cut[batch.retrieval.queries], cut[batch.retrieval.documents])
        for name, value in _losses(cut, batch, scores, settings):
            parts[name] = parts.get(name, 0.0) + value / len(dims)
    total = sum((settings.losses[name] * value for name, value in parts.items()), embeddings.new_zeros(()))
    return Loss(total, {name: value.detach() for name, value in parts.items()}, None if scores is None else scores.detach())


def _losses(
    embeddings: Tensor, batch: Batch, scores: Tensor | None, settings: TrainingSettings
) -> Iterator[tuple[str, Tensor]]:
    device = embeddings.device
    if batch.retrieval is not None and scores is not None and "info_nce" in settings.losses:
        positive = torch.from_numpy(batch.retrieval.positive).to(device)
        log_weights = torch.from_numpy(batch.retrieval.counts).to(scores).log()
        yield "info_nce", info_nce(scores, positive, log_weights, settings.temperature).mean()
    if batch.sts is not None and "cosent" in settings.losses:
        pairs = cosine_similarity(embeddings[batch.sts.first], embeddings[batch.sts.second])
        yield "cosent", cosent(pairs, torch.from_numpy(batch.sts.labels).to(device), settings.cosent_temperature)


def score_means(scores: Tensor, batch: RetrievalBatch) -> dict[str, float]:
    """Return the mean cosine of the queries to their positives and to their own hard negatives."""
    values = scores.cpu().numpy()
    rows = np.arange(len(values))
    means = {"mean_positive_score": float(values[rows, batch.positive].mean())}
    query, slot = np.nonzero(batch.negatives >= 0)
    if len(query):
        means["mean_negative_score"] = float(values[query, batch.negatives[query, slot]].mean())
    return means
