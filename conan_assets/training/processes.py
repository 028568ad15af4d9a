"""What the processes of a run exchange: embeddings on the way out, parameter gradients on the way back.

Every process decides the same global batch, encodes its share of the texts, and then computes the loss of the whole
batch on the embeddings of all. So the loss is that of one process by construction, and the sum of the processes'
parameter gradients is its gradient.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import Tensor, nn


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
        state = PartialState(cpu=not torch.cuda.is_available())
        self.rank = state.process_index
        self.count = state.num_processes
        self.device = state.device
        self.wait = state.wait_for_everyone

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run's files."""
        return self.rank == 0

    def share(self, texts: Sequence[tuple[int, str]]) -> list[int]:
        """Return the positions of the texts that this process encodes: dealt by length, so that shares weigh alike."""
        by_length = sorted(range(len(texts)), key=lambda row: -len(texts[row][1]))
        return by_length[self.rank :: self.count]

    def gather(self, embeddings: Tensor, rows: Sequence[int], count: int) -> Tensor:
        """Return all processes' embeddings as (count, dim), given this one's and their rows."""
        gathered = embeddings.new_zeros(count, embeddings.shape[1])
        gathered[list(rows)] = embeddings
        if self.count > 1:
            dist.all_reduce(gathered)
        return gathered

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Set every parameter's gradient to the sum of all processes' gradients of it."""
        if self.count == 1:
            return
        everyone = list(parameters)
        present = torch.tensor([parameter.grad is not None for parameter in everyone], device=self.device).float()
        dist.all_reduce(present)
        for parameter, somewhere in zip(everyone, present.tolist(), strict=True):
            if somewhere:
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                dist.all_reduce(parameter.grad)
