"""The weights that a stage ends with: the mean of its last steps', or the best, where it stops early."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from conan_assets.training.samples import RetrievalSamples
from conan_assets.training.settings import EarlyStopSettings
from conan_assets.training.sharding import like
from conan_assets.training.text_encoder import TextEncoder
from conan_assets.training.texts import DOCUMENT, QUERY, TextNumbers

CUTOFF = 10
MEASUREMENTS = 5


class WeightAverage:
    """A running mean.

    Attributes
    ----------
    mean
        By name; empty before the first step that counts.
    """

    def __init__(self, first_step: int) -> None:
        self._first_step = first_step
        self._count = 0
        self.mean: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(self, step: int, weights: Mapping[str, Tensor]) -> None:
        """Take in the weights after ``step`` (from 1), if it is among the last steps."""
        if step < self._first_step:
            return
        self._count += 1
        for name, weight in weights.items():
            mean = self.mean.setdefault(name, torch.zeros_like(weight))
            mean.lerp_(weight, 1 / self._count)

    def tensors(self) -> dict[str, Tensor]:
        """Return the state as tensors by name."""
        return {"count": torch.tensor(self._count), **{f"mean/{name}": mean for name, mean in self.mean.items()}}

    def restore(self, tensors: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
        """Set the state of the mean of ``weights`` to what :meth:`tensors` returned."""
        self._count = int(tensors["count"])
        means = {name.removeprefix("mean/"): mean for name, mean in tensors.items() if name != "count"}
        self.mean = {name: like(mean, weights[name]) for name, mean in means.items()}


class EarlyStop:
    """What nDCG@10 on samples that are never trained on has been so far.

    Attributes
    ----------
    best
        The best value, and ``best_weights`` the weights that had it; empty before the first measurement.
    waited
        Measurements since then.
    """

    def __init__(self, settings: EarlyStopSettings, samples: RetrievalSamples, steps: int) -> None:
        self.settings = settings
        self.every_steps = settings.every_steps or max(1, math.ceil(steps / MEASUREMENTS))
        self.samples = samples
        self.best = -1.0
        self.waited = 0
        self.best_weights: dict[str, Tensor] = {}

    @property
    def is_over(self) -> bool:
        """Whether the stage should end."""
        return self.waited >= self.settings.patience

    def is_due(self, step: int) -> bool:
        """Return whether to measure after ``step``."""
        return step % self.every_steps == 0

    def measure(self, encoder: TextEncoder, weights: Mapping[str, Tensor]) -> float:
        """Measure the model and remember its weights if it is the best so far; return nDCG@10."""
        value = mean_ndcg(encoder, self.samples)
        self.waited += 1
        if value > self.best:
            self.best, self.waited = value, 0
            self.best_weights = {name: weight.detach().clone() for name, weight in weights.items()}
        return value

    def tensors(self) -> dict[str, Tensor]:
        """Return the state as tensors by name."""
        progress = torch.tensor([self.best, float(self.waited)], dtype=torch.float64)
        return {"progress": progress, **{f"best/{name}": weight for name, weight in self.best_weights.items()}}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the state to what :meth:`tensors` returned."""
        self.best, self.waited = float(tensors["progress"][0]), int(tensors["progress"][1])
        self.best_weights = {
            name.removeprefix("best/"): weight for name, weight in tensors.items() if name.startswith("best/")
        }


def mean_ndcg(encoder: TextEncoder, samples: RetrievalSamples) -> float:
    """Return the mean nDCG@10 of ranking each sample's positives among its positives and candidates."""
    texts = TextNumbers()
    queries = [texts.number(QUERY, samples.queries[i]) for i in range(len(samples))]
    lists = [np.concatenate([samples.positives[i], samples.candidates[i]]) for i in range(len(samples))]
    documents = [[texts.number(DOCUMENT, samples.texts[row]) for row in rows] for rows in lists]
    encoder.model.eval()
    with torch.no_grad():
        rows = range(encoder.processes.rank, len(texts), encoder.processes.count)
        embeddings = torch.nn.functional.normalize(encoder.embed(texts.texts, rows), dim=1)
    encoder.model.train()
    values = [
        ndcg((embeddings[documents[i]] @ embeddings[query]).cpu().numpy(), int(samples.positives.lengths[i]))
        for i, query in enumerate(queries)
    ]
    return float(np.mean(values))


def ndcg(scores: np.ndarray, positives: int) -> float:
    """Return nDCG@10 of a list whose first ``positives`` documents are relevant; ties rank irrelevant ones first."""
    relevant = np.arange(len(scores)) < positives
    ranking = np.lexsort((relevant, -scores))[:CUTOFF]
    discounts = 1 / np.log2(np.arange(2, CUTOFF + 2))
    return float((relevant[ranking] * discounts[: len(ranking)]).sum() / discounts[: min(positives, CUTOFF)].sum())
