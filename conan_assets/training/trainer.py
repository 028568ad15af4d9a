"""One stage of training: the step, and what is saved between steps."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from conan_assets.encoding.settings import EncoderSettings
from conan_assets.training.attention import attention_kernel
from conan_assets.training.batches import Batch, BatchPlan
from conan_assets.training.columns import TrainingDataError
from conan_assets.training.data import TrainingData
from conan_assets.training.final_weights import EarlyStop, WeightAverage
from conan_assets.training.model import set_dropout
from conan_assets.training.negatives import NegativeTable
from conan_assets.training.objective import batch_loss
from conan_assets.training.processes import Processes
from conan_assets.training.samples import RetrievalSamples
from conan_assets.training.settings import DISTILLATION, TrainingSettings
from conan_assets.training.sharding import is_sharded, whole
from conan_assets.training.state import State, optimizer_tensors, restore_optimizer
from conan_assets.training.text_encoder import TextEncoder
from conan_assets.training.weights import (
    MasterWeights,
    build_optimizer,
    gradients,
    learning_rate,
    set_learning_rate,
    training_dtype,
)

MOST_NAMED = 10


class TrainingDivergedError(FloatingPointError):
    """A loss or a gradient is not finite; the message names the step and the samples."""


class Trainer:
    """One stage.

    Parameters
    ----------
    stage
        Number of the stage, from 0.
    model
        The model, in float32 but for frozen weights; trained in place.
    base
        The base model's settings, which name its prompts.
    data, dev
        What is trained on, and what an early stop measures.
    settings
        How it is trained.
    processes
        The processes of the run.

    Attributes
    ----------
    step
        Finished optimizer steps.
    """

    def __init__(
        self,
        stage: int,
        model: SentenceTransformer,
        base: EncoderSettings,
        data: TrainingData,
        dev: RetrievalSamples | None,
        settings: TrainingSettings,
        processes: Processes,
    ) -> None:
        _check(data, settings, processes)
        self.stage = stage
        self.model = model.train()
        self.data = data
        self.settings = settings
        self.processes = processes
        self.step = 0
        self.table = self._build_table()
        self.plan = BatchPlan(data, settings, self.table)
        self.dtype = training_dtype(settings, base, processes)
        self._restore_dropout = set_dropout(model, settings.dropout, settings.attention_dropout)
        self.weights = MasterWeights(model, self.dtype)
        self.optimizer = build_optimizer(self.weights, settings)
        self.encoder = TextEncoder(model, base, data.sample_of_texts(), settings, processes)
        self.average = WeightAverage(self.plan.steps - math.ceil(settings.average_last * self.plan.steps) + 1)
        self.early_stop = None
        if settings.early_stop is not None and dev is not None:
            self.early_stop = EarlyStop(settings.early_stop, dev, self.plan.steps)

    @property
    def is_finished(self) -> bool:
        """Whether the stage has taken its last step."""
        return self.step >= self.plan.steps or (self.early_stop is not None and self.early_stop.is_over)

    def fit(self) -> None:
        """Try the memory that the next step takes, before it is taken."""
        batch = self.plan.batch(self.step)
        with self._attention():
            self.encoder.fit(batch.texts, self.processes.share(batch, self.settings.sts_processes))

    def run(self) -> Iterator[dict[str, float]]:
        """Train from the current step to the last; yield each finished step's metrics."""
        while not self.is_finished:
            yield self.train_step()

    def train_step(self) -> dict[str, float]:
        """Take one optimizer step and return its metrics."""
        rate = learning_rate(self.step, self.plan.steps, self.settings)
        with self._attention():
            metrics = self.compute_gradient(batch := self.plan.batch(self.step))
        metrics["gradient_norm"] = self._clip(batch)
        metrics["learning_rate"] = rate
        set_learning_rate(self.optimizer, rate)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.weights.publish()
        self.step += 1
        self.average.add(self.step, self.weights.masters)
        if self.early_stop is not None and (self.early_stop.is_due(self.step) or self.step == self.plan.steps):
            metrics["dev_ndcg_at_10"] = self.early_stop.measure(self.encoder, self.weights.masters)
        return {"stage": self.stage, "step": self.step, **metrics}

    def compute_gradient(self, batch: Batch) -> dict[str, float]:
        """Add the gradient of the batch's loss to that of the weights; return the loss and what came with it."""
        rows = self.processes.share(batch, self.settings.sts_processes)
        encoded = self.encoder.encode(batch.texts, rows, (self.settings.seed, self.stage, self.step))
        loss = batch_loss(encoded.embeddings, batch, self.settings)
        self._check_finite(loss.total, encoded.embeddings, batch, "loss")
        (gradient,) = torch.autograd.grad(loss.total, encoded.embeddings)
        encoded.backward(gradient)
        if not is_sharded(self.model):  # FSDP has added them up
            self.processes.add_gradients(self.weights.masters.values())
        metrics: dict[str, float] = {"loss": float(loss.total.detach())}
        metrics |= {name: float(value) for name, value in loss.parts.items()}
        if loss.scores is not None:
            metrics |= self._refresh_negatives(batch, loss.scores)
        return metrics | {"samples": batch.samples, "tokens": self.processes.add_number(encoded.tokens)}

    def _attention(self) -> AbstractContextManager[None]:
        lengths = self.encoder.lengths
        return attention_kernel(min(lengths.median, lengths.limit), self.processes.device, self.dtype)

    def finish(self) -> None:
        """Leave what was trained in float32, with the stage's weights: the best ones, the mean, or the last."""
        best = self.early_stop.best_weights if self.early_stop is not None else {}
        if best or self.average.mean:
            self.weights.load(best or self.average.mean)
        self.weights.release()
        self._restore_dropout()

    def state(self) -> State:
        """Return what the rest of the stage depends on, in the first process; the others give it their parts."""
        parts = {"optimizer": optimizer_tensors(self.optimizer, self.weights), "average": self.average.tensors()}
        if self.table is not None:
            parts["negatives"] = {name: torch.from_numpy(getattr(self.table, name)) for name in NegativeTable.STATE}
        if self.early_stop is not None:
            parts["early_stop"] = self.early_stop.tensors()
        tensors = {}
        for part, values in parts.items():
            for name, value in values.items():
                full = whole(value)
                if self.processes.is_main:
                    tensors[f"{part}/{name}"] = full.cpu().contiguous()
        return State(self.stage, self.step, tensors)

    def restore(self, state: State) -> None:
        """Go on from ``state``."""
        restore_optimizer(self.optimizer, self.weights, state.part("optimizer"))
        self.average.restore(state.part("average"), self.weights.masters)
        if self.table is not None:
            for name, values in state.part("negatives").items():
                getattr(self.table, name)[:] = values.numpy()
        if self.early_stop is not None:
            self.early_stop.restore(state.part("early_stop"))
        self.step = state.step

    def _build_table(self) -> NegativeTable | None:
        if self.data.retrieval is None:
            return None
        settings = self.settings
        return NegativeTable(self.data.retrieval.candidates, settings.negatives_in_loss, settings.dynamic_negatives)

    def _refresh_negatives(self, batch: Batch, scores: Tensor) -> dict[str, float]:
        """Hand the step's scores to the table of negatives; return their means and what was replaced."""
        assert batch.retrieval is not None
        assert self.table is not None
        own = self.processes.from_main(scores).cpu().numpy()
        positive, negatives = own[:, 0], own[:, 1:]
        done = self.table.update(self.step + 1, batch.retrieval.samples, negatives, positive)
        metrics: dict[str, float] = {"mean_positive_score": float(positive.mean())}
        known = negatives[negatives == negatives]
        if len(known):
            metrics["mean_negative_score"] = float(known.mean())
        return metrics | {
            "negatives_replaced": done.replaced,
            "replaced_and_trained_on": done.trained_on,
            "negatives_exhausted": done.exhausted,
        }

    def _clip(self, batch: Batch) -> float:
        norm = whole(torch.nn.utils.get_total_norm(gradients(self.weights.masters.values())))
        self._check_finite(norm, None, batch, "gradient norm")
        torch.nn.utils.clip_grads_with_norm_(self.weights.masters.values(), self.settings.max_gradient_norm, norm)
        return float(norm)

    def _check_finite(self, value: Tensor, embeddings: Tensor | None, batch: Batch, what: str) -> None:
        number = float(value.detach())
        if math.isfinite(number):
            return
        where = f"stage {self.stage + 1}, step {self.step + 1}"
        raise TrainingDivergedError(
            f"the {what} of {where} is {number}: {self._suspects(embeddings, batch)}; "
            "look at these samples, or lower learning_rate"
        )

    def _suspects(self, embeddings: Tensor | None, batch: Batch) -> str:
        """Name the samples with an embedding that is not finite, or all of the batch when there is none."""
        wrong = np.zeros(len(batch.texts), bool)
        if embeddings is not None:
            wrong = (~embeddings.isfinite().all(dim=1)).cpu().numpy()
        names = list(self._samples_with(wrong if wrong.any() else ~wrong, batch))
        return f"{', '.join(names[:MOST_NAMED])}{' and others' if len(names) > MOST_NAMED else ''}"

    def _samples_with(self, wrong: np.ndarray, batch: Batch) -> Iterator[str]:
        """Yield the names of the batch's samples that need one of the texts which are ``wrong``."""
        retrieval, sts, samples = batch.retrieval, batch.sts, self.data.retrieval
        if retrieval is not None and samples is not None:
            documents = wrong[retrieval.documents]
            negatives = (documents[retrieval.negatives] & (retrieval.negatives >= 0)).any(axis=1)
            affected = wrong[retrieval.queries] | documents[retrieval.positive] | negatives
            yield from (f"sample {samples.sample_ids[int(row)]}" for row in retrieval.samples[affected])
        if sts is not None:
            affected = wrong[sts.first] | wrong[sts.second]
            yield from (f"row {row + 1} of sts.parquet" for row in sts.rows[affected])


def _check(data: TrainingData, settings: TrainingSettings, processes: Processes) -> None:
    """Refuse data and settings that do not fit together."""
    named = DISTILLATION & set(settings.losses)
    if data.retrieval is not None and named and data.retrieval.candidate_scores is None:
        raise TrainingDataError(
            f"the loss {min(named)} needs the columns positive_scores and candidate_scores in retrieval.parquet"
        )
    if settings.sts_processes is not None and 1 < processes.count <= settings.sts_processes:
        raise ValueError(
            f"sts_processes is {settings.sts_processes} of {processes.count} processes; give fewer, so that some hold "
            "the retrieval task, or null"
        )
