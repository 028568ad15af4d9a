"""The loss of a batch: ``L_ret + beta * L_cos`` and whatever else the settings name, at their weights.

Every process computes it over the embeddings of all, so nothing in it depends on how the batch was split. That makes
Cross-GPU Batch Balance (Conan-embedding, "Cross-GPU Batch Balance Loss") exact for any number of processes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from conan_assets.training.batches import Batch
from conan_assets.training.losses import cosent, cosines, drop_false_negatives, info_nce, kl_distillation, margin_mse
from conan_assets.training.retrieval_batch import RetrievalBatch
from conan_assets.training.settings import LossName, TrainingSettings


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
        Cosines at full length of each query to its positive (first) and own negatives, shape (queries, 1 + n), NaN for
        none; None without a retrieval task.
    """

    total: Tensor
    parts: dict[LossName, Tensor]
    scores: Tensor | None


def batch_loss(embeddings: Tensor, batch: Batch, settings: TrainingSettings) -> Loss:
    """Return the loss of ``batch`` over the embeddings (texts, dim) of its texts.

    With Matryoshka dims it is the weighted mean of the losses over embeddings cut to each of them (arXiv 2205.13147).
    """
    parts: dict[LossName, Tensor] = {}
    scores = None
    for dim, weight in matryoshka_shares(embeddings.shape[1], settings).items():
        scores = None
        cut = embeddings[:, :dim]
        if batch.retrieval is not None:
            scores = RetrievalScores(cut, batch.retrieval)
            for name, value in _retrieval_losses(scores, settings):
                parts[name] = parts.get(name, 0.0) + weight * value
        if batch.sts is not None and "cosent" in settings.losses:
            pairs = cosine_similarity(cut[batch.sts.first], cut[batch.sts.second])
            labels = torch.from_numpy(batch.sts.labels).to(pairs)
            parts["cosent"] = parts.get("cosent", 0.0) + weight * cosent(pairs, labels, settings.cosent_temperature)
    total = sum((settings.losses[name] * value for name, value in parts.items()), embeddings.new_zeros(()))
    detached = {name: value.detach() for name, value in parts.items()}
    own = scores.own.detach().masked_fill(scores.missing, torch.nan) if scores is not None else None
    return Loss(total, detached, own)


def matryoshka_shares(full: int, settings: TrainingSettings) -> Mapping[int, float]:
    """Return each length that the loss is taken at, the full one last, and its share of the loss."""
    weights = dict(
        zip(
            settings.matryoshka_dims, settings.matryoshka_weights or (1.0,) * len(settings.matryoshka_dims), strict=True
        )
    )
    weights = {dim: weight for dim, weight in sorted(weights.items()) if dim < full} | {full: weights.get(full, 1.0)}
    return {dim: weight / sum(weights.values()) for dim, weight in weights.items()}


class RetrievalScores:
    """Cosines of a batch's queries and documents, and who counts as a negative.

    Attributes
    ----------
    all
        Shape (queries, documents).
    own
        Of each query to its positive (first) and own negatives, shape (queries, 1 + n); 0 for none.
    missing
        Where there is none, of the same shape.
    """

    def __init__(self, embeddings: Tensor, batch: RetrievalBatch) -> None:
        self.batch = batch
        self.all = cosines(embeddings[batch.queries], embeddings[batch.documents])
        self.positive = torch.from_numpy(batch.positive).to(self.all.device)
        lists = torch.from_numpy(np.concatenate([batch.positive[:, None], batch.negatives], axis=1)).to(self.all.device)
        self.missing = lists < 0
        self.own = self.all.gather(1, lists.clamp(min=0)).masked_fill(self.missing, 0.0)

    def log_weights(self, settings: TrainingSettings) -> Tensor:
        """Return the logarithm of how often each document is a negative, after the guards of ``settings``."""
        weights = torch.from_numpy(self.batch.counts).to(self.all)
        if settings.dynamic_negatives.guard and self.batch.swapped_in.any():
            scores = self.own.detach()
            query, slot = torch.nonzero(
                torch.from_numpy(self.batch.swapped_in).to(scores.device) & (scores[:, 1:] > scores[:, :1]),
                as_tuple=True,
            )
            columns = torch.from_numpy(self.batch.negatives).to(scores.device)[query, slot]
            weights = weights.index_put((query, columns), weights.new_zeros(()))
        log_weights = weights.log()
        if settings.false_negative_margin is not None:
            return drop_false_negatives(self.all, self.positive, log_weights, settings.false_negative_margin)
        return log_weights

    def teacher(self) -> Tensor:
        """Return the teacher's scores, of the shape of ``own``; NaN for none."""
        assert self.batch.teacher is not None
        return torch.from_numpy(self.batch.teacher).to(self.all)


def _retrieval_losses(scores: RetrievalScores, settings: TrainingSettings) -> Iterator[tuple[LossName, Tensor]]:
    """Yield the retrieval losses that the settings name, as means over queries."""
    if "info_nce" in settings.losses:
        loss = info_nce(scores.all, scores.positive, scores.log_weights(settings), settings.temperature)
        yield "info_nce", loss.mean()
    if "kl_distillation" in settings.losses:
        temperatures = settings.temperature, settings.teacher_temperature
        yield "kl_distillation", kl_distillation(scores.own, scores.teacher(), *temperatures).mean()
    if "margin_mse" in settings.losses:
        yield "margin_mse", margin_mse(scores.own, scores.teacher()).mean()
