"""The processes of a run, and the two sums they exchange.

Every process decides the same global batch and encodes its share of the texts. The sum of everyone's embeddings (zero
where another process encodes) is the whole batch's; each computes the loss over that, and the sum of everyone's
parameter gradients is the gradient of that loss. Nothing is averaged, and counts need not be even.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor, nn

from conan_assets.training.batches import Batch
from conan_assets.training.launch import meeting_place

BUCKET_BYTES = 64 * 2**20
"""Gradients that are copied at once to be added up."""


class Processes:
    """The processes of a run, of which this is one; a run without ``torchrun`` has one.

    Attributes
    ----------
    rank, count
        This process's number, and how many there are.
    device
        Where this process computes.
    """

    def __init__(self) -> None:
        state = PartialState(cpu=not torch.cuda.is_available(), **meeting_place())
        self.rank: int = state.process_index
        self.count = state.num_processes
        self.device = state.device
        self.wait = state.wait_for_everyone

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run's files."""
        return self.rank == 0

    def share(self, batch: Batch, sts_processes: int | None) -> list[int]:
        """Return the positions of the texts that this process encodes.

        Texts are dealt by length, so that shares weigh alike: all texts to all processes, or STS texts to the last
        ``sts_processes`` and the others to the rest.
        """
        everything = range(len(batch.texts))
        if sts_processes is None or self.count == 1:
            return deal(batch, everything, self.rank, self.count)
        others = self.count - sts_processes
        if self.rank < others:
            return deal(batch, everything[: batch.sts_from], self.rank, others)
        return deal(batch, everything[batch.sts_from :], self.rank - others, sts_processes)

    def add(self, tensor: Tensor) -> Tensor:
        """Set ``tensor`` to the sum of all processes' tensors and return it."""
        if self.count > 1:
            dist.all_reduce(tensor)
        return tensor

    def add_number(self, number: float) -> float:
        """Return the sum of all processes' numbers."""
        return float(self.add(torch.tensor(float(number), device=self.device))) if self.count > 1 else number

    def most(self, number: int) -> int:
        """Return the largest of all processes' numbers."""
        largest = torch.tensor(number, device=self.device)
        if self.count > 1:
            dist.all_reduce(largest, op=dist.ReduceOp.MAX)
        return int(largest)

    def from_main(self, tensor: Tensor) -> Tensor:
        """Return the first process's ``tensor``, so that decisions taken on it are everyone's."""
        if self.count > 1:
            dist.broadcast(tensor, src=0)
        return tensor

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Set every parameter's gradient to the sum of all processes' gradients of it."""
        if self.count == 1:
            return
        everyone = list(parameters)
        present = self.add(
            torch.tensor([parameter.grad is not None for parameter in everyone], device=self.device).float()
        )
        used = [parameter for parameter, here in zip(everyone, present.tolist(), strict=True) if here]
        for parameter in used:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in used if parameter.grad is not None]
        for bucket in fill_buckets(gradients):
            total = self.add(torch.cat([gradient.flatten() for gradient in bucket]))
            shares = total.split([gradient.numel() for gradient in bucket])  # type: ignore[no-untyped-call]
            for gradient, share in zip(bucket, shares, strict=True):
                gradient.copy_(share.view_as(gradient))


def fill_buckets(gradients: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Yield ``gradients`` in their order, as many at once as have ``BUCKET_BYTES``; a larger one comes alone."""
    bucket: list[Tensor] = []
    size = 0
    for gradient in gradients:
        if bucket and size + gradient.nbytes > BUCKET_BYTES:
            yield bucket
            bucket, size = [], 0
        bucket.append(gradient)
        size += gradient.nbytes
    if bucket:
        yield bucket


def deal(batch: Batch, rows: Sequence[int], number: int, count: int) -> list[int]:
    """Return the ``number``-th of ``count`` shares of ``rows``, dealt from the longest text to the shortest."""
    return sorted(rows, key=lambda row: (-len(batch.texts[row][1]), row))[number::count]
