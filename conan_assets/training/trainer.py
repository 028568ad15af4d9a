"""One stage of training: the step, and what is saved between steps."""

import math
from collections.abc import Iterator

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from conan_assets.encoding.encoder import best_dtype
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.training.batches import Batch, BatchPlan
from conan_assets.training.data import TrainingData
from conan_assets.training.gradient_cache import GradientCache, MiniBatch
from conan_assets.training.mini_batches import Role, split_into_mini_batches
from conan_assets.training.model import set_dropout
from conan_assets.training.negatives import NegativeTable
from conan_assets.training.objective import batch_loss, score_means
from conan_assets.training.processes import Processes
from conan_assets.training.settings import TrainingSettings
from conan_assets.training.state import State, optimizer_tensors, restore_optimizer
from conan_assets.training.weights import MasterWeights, build_optimizer, gradients, learning_rate, set_learning_rate

TOKENS_PER_MINI_BATCH = {"cpu": 2_048, "cuda": 32_768}


class TrainingDivergedError(FloatingPointError):
    """A loss or a gradient is not finite; the message names the step and the samples."""


class Trainer:
    """One stage.

    Parameters
    ----------
    stage
        Number of the stage, from 0.
    model
        The model, in float32; trained in place.
    prompts
        The base model's settings: its prompts.
    data, settings
        What is trained on, and how.
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
        prompts: EncoderSettings,
        data: TrainingData,
        settings: TrainingSettings,
        processes: Processes,
    ) -> None:
        self.stage = stage
        self.model = model.train()
        self.settings = settings
        self.processes = processes
        self.step = 0
        self.data = data
        self.table = NegativeTable(data.retrieval.candidates, settings.negatives_per_query) if data.retrieval else None
        self.plan = BatchPlan(data, settings, self.table)
        device = processes.device.type
        self.dtype = best_dtype(device) if settings.dtype == "auto" else getattr(torch, settings.dtype)
        if settings.dropout is not None:
            set_dropout(model, settings.dropout)
        self.weights = MasterWeights(model, self.dtype)
        self.optimizer = build_optimizer(self.weights, settings)
        self.roles = _roles(model, prompts, settings)
        self.tokens_per_mini_batch = settings.tokens_per_mini_batch or TOKENS_PER_MINI_BATCH[device]

    def run(self) -> Iterator[dict[str, float]]:
        """Train from the current step to the last; yield each finished step's metrics."""
        while self.step < self.plan.steps:
            yield self.train_step()

    def train_step(self) -> dict[str, float]:
        """Take one optimizer step and return its metrics."""
        batch = self.plan.batch(self.step)
        rate = learning_rate(self.step, self.plan.steps, self.settings)
        metrics = self.compute_gradient(batch)
        metrics["gradient_norm"] = self._clip(batch)
        metrics["learning_rate"] = rate
        set_learning_rate(self.optimizer, rate)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.weights.publish()
        self.step += 1
        return {"stage": self.stage, "step": self.step, **metrics}

    def compute_gradient(self, batch: Batch) -> dict[str, float]:
        """Add the gradient of the batch's loss to that of the weights; return the loss and the counts."""
        rows = self.processes.share(batch.texts)
        mini_batches = self._mini_batches(batch, rows)
        rows = [row for mini_batch in mini_batches for row in mini_batch.rows]
        cache = GradientCache(self._encode, mini_batches, None)
        embeddings = self.processes.gather(cache.embed(), rows, len(batch.texts)).requires_grad_()
        loss = batch_loss(embeddings, batch, self.settings)
        self._check_finite(loss.total, embeddings, batch, "loss")
        (gradient,) = torch.autograd.grad(loss.total, embeddings)
        cache.backward(gradient[rows])
        self.processes.add_gradients(self.weights.masters.values())
        metrics: dict[str, float] = {"loss": float(loss.total.detach())}
        metrics |= {name: float(value) for name, value in loss.parts.items()}
        if batch.retrieval is not None and loss.scores is not None:
            metrics |= score_means(loss.scores, batch.retrieval)
        return metrics | {"samples": batch.samples, "tokens": sum(mini_batch.tokens for mini_batch in mini_batches)}

    def finish(self) -> None:
        """Leave the model in float32 with the trained weights."""
        self.weights.release(self.model)

    def state(self) -> State:
        """Return what the rest of the stage depends on."""
        tensors = optimizer_tensors(self.optimizer, self.weights)
        if self.table is not None:
            tensors["negatives/current"] = torch.from_numpy(self.table.current)
        return State(self.stage, self.step, tensors)

    def restore(self, state: State) -> None:
        """Go on from ``state``."""
        restore_optimizer(self.optimizer, self.weights, state)
        if self.table is not None:
            self.table.current[:] = state.tensors["negatives/current"].numpy()
        self.step = state.step

    def _mini_batches(self, batch: Batch, rows: list[int]) -> list[MiniBatch]:
        seed = (self.settings.seed, self.stage, self.step)
        return list(
            split_into_mini_batches(self.model, batch.texts, rows, self.roles, self.tokens_per_mini_batch, seed)
        )

    def _encode(self, mini_batch: MiniBatch) -> Tensor:
        features = {
            name: value.to(self.processes.device) if isinstance(value, Tensor) else value
            for name, value in mini_batch.features.items()
        }
        return self.model(features)["sentence_embedding"]

    def _clip(self, batch: Batch) -> float:
        norm = torch.nn.utils.get_total_norm(gradients(self.weights.masters.values()))
        self._check_finite(norm, None, batch, "gradient norm")
        torch.nn.utils.clip_grads_with_norm_(self.weights.masters.values(), self.settings.max_gradient_norm, norm)
        return float(norm)

    def _check_finite(self, value: Tensor, embeddings: Tensor | None, batch: Batch, what: str) -> None:
        number = float(value.detach())
        if math.isfinite(number):
            return
        raise TrainingDivergedError(
            f"the {what} of step {self.step + 1} is {number}; {self._suspects(embeddings, batch)}; "
            "look at these samples, or lower learning_rate"
        )

    def _suspects(self, embeddings: Tensor | None, batch: Batch) -> str:
        """Name the samples whose embeddings are not finite, or all of the batch when every embedding is."""
        retrieval, data = batch.retrieval, self.data.retrieval
        if retrieval is None or data is None:
            return "its batch holds STS pairs only"
        suspects = list(range(len(retrieval.samples)))
        if embeddings is not None:
            wrong = (~embeddings.isfinite().all(dim=1)).cpu().numpy()
            documents = retrieval.documents[retrieval.positive]
            suspects = [i for i in suspects if wrong[retrieval.queries[i]] or wrong[documents[i]]] or suspects
        ids = [data.sample_ids[int(retrieval.samples[i])] for i in suspects]
        return f"samples {', '.join(ids[:10])}{' and others' if len(ids) > 10 else ''}"


def _roles(model: SentenceTransformer, prompts: EncoderSettings, settings: TrainingSettings) -> list[Role]:
    """Return how queries (role 0) and documents (role 1) are prepared."""
    model_limit = model.max_seq_length or model.tokenizer.model_max_length
    limit = min(settings.max_tokens or model_limit, model_limit)
    query_limit = min(settings.max_query_tokens or limit, limit)
    return [Role(prompts.query_prompt, query_limit), Role(prompts.document_prompt, limit)]
