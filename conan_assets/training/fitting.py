"""Fit a stage to its data and its machine: how long texts may be, and how many activations are kept."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from conan_assets.memory import free_bytes_of_host
from conan_assets.training.gradient_cache import MiniBatch
from conan_assets.training.settings import CPU_ACTIVATIONS
from conan_assets.training.sharding import own_part

MOST_CUT = 0.02
"""Share of the texts that a length chosen from the data may cut."""
ROUNDED_TO = 16
TOKENS_TRIED = 2_048
SHARE_OF_FREE = {"cpu": 0.5, "cuda": 0.8}
BYTES_PER_PARAMETER = 12
"""A gradient and AdamW's two moments, in float32."""


class NotEnoughMemoryError(ValueError):
    """A stage needs more memory than the machine has; the message says how much and which settings need less."""


@dataclass(frozen=True)
class TextLengths:
    """Lengths in tokens of the texts of a stage, by a sample of them.

    Attributes
    ----------
    limit
        The longest that goes into the model.
    median
        Half of the texts have this length or less.
    cut
        Share of the texts that are longer than the limit and lose their ends.
    """

    limit: int
    median: int
    cut: float


def fit_length(lengths: np.ndarray, asked: int | None, most: int) -> TextLengths:
    """Return the limit that is ``asked`` for, or one that cuts few texts of these ``lengths``, within the model's."""
    limit = asked or most
    if asked is None and len(lengths):
        usual = float(np.quantile(lengths, 1 - MOST_CUT, method="higher"))
        limit = min(most, ROUNDED_TO * math.ceil(usual / ROUNDED_TO))
    median = int(np.median(lengths)) if len(lengths) else 0
    return TextLengths(limit, median, float((lengths > limit).mean()) if len(lengths) else 0.0)


def fit_memory(
    encode: Callable[[MiniBatch], Tensor],
    mini_batches: Sequence[MiniBatch],
    model: nn.Module,
    device: torch.device,
    processes: int,
) -> tuple[int, int]:
    """Return how many tokens' activations fit the memory at hand, and how many bytes one takes.

    Parameters
    ----------
    encode
        Gives the embeddings of a mini-batch with their graph.
    mini_batches
        A step's, of which the beginning of the largest is tried.
    model
        What encodes; the gradient and the moments of what is trained in it need memory too.
    processes
        How many share the memory.

    Raises
    ------
    NotEnoughMemoryError
        Not even one mini-batch fits.
    """
    largest = max(mini_batches, key=lambda mini_batch: mini_batch.tokens)
    free = free_bytes(device) / (processes if device.type == "cpu" else 1)
    parts = (own_part(parameter) for parameter in model.parameters() if parameter.requires_grad)
    trained = BYTES_PER_PARAMETER * sum(part.numel() for part in parts)
    room = SHARE_OF_FREE[device.type] * free - trained
    tried = _beginning(largest, TOKENS_TRIED)
    bytes_per_token = max(1, saved_bytes(lambda: encode(tried), model) // tried.tokens) if room > 0 else 1
    if room < bytes_per_token * largest.tokens:
        raise NotEnoughMemoryError(
            f"training needs {trained / 2**30:.1f} GiB for gradients and AdamW's moments and "
            f"{bytes_per_token * largest.tokens / 2**30:.1f} GiB for the activations of {largest.tokens:,} tokens, and "
            f"{SHARE_OF_FREE[device.type]:.0%} of the {free / 2**30:.1f} GiB that are free for a process are at hand: "
            + (f"lower tokens_per_mini_batch to {int(room // bytes_per_token):,}, or " if room > 0 else "")
            + "set max_tokens, architecture.gradient_checkpointing or architecture.lora, or take a smaller base model"
        )
    return int(min(room, CPU_ACTIVATIONS) if device.type == "cpu" else room) // bytes_per_token, bytes_per_token


def _beginning(mini_batch: MiniBatch, tokens: int) -> MiniBatch:
    """Return the first rows of a mini-batch, at least one, that have at most so many tokens."""
    count = len(mini_batch.rows)
    if count <= 1:
        return mini_batch
    rows = max(1, min(count, tokens * count // mini_batch.tokens))
    features = {
        name: value[:rows].clone() if isinstance(value, Tensor) and value.ndim and len(value) == count else value
        for name, value in mini_batch.features.items()
    }
    return MiniBatch(mini_batch.rows[:rows], features, rows * mini_batch.tokens // count, mini_batch.seed)


def saved_bytes(forward: Callable[[], Tensor], model: nn.Module) -> int:
    """Return the bytes that autograd keeps for the way back through ``forward``, besides the weights.

    The weights of a sharded layer are elsewhere in memory in every pass, so they are looked for at every tensor.
    """
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        weights = map(own_part, model.parameters())
        if all(weight.untyped_storage().data_ptr() != storage.data_ptr() for weight in weights):
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = forward()
    total = sum(kept.values())
    del output
    return total


def free_bytes(device: torch.device) -> int:
    """Return the memory of ``device`` that nobody uses."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    return free_bytes_of_host()
