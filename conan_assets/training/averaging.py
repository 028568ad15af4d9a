"""The mean of the weights over the last steps of a stage."""

from collections.abc import Mapping

import torch
from torch import Tensor


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
        return {"count": torch.tensor(self._count), **{f"mean/{name}": mean.cpu() for name, mean in self.mean.items()}}

    def restore(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        """Set the state to what :meth:`tensors` returned."""
        self._count = int(tensors["count"])
        self.mean = {name.removeprefix("mean/"): mean.to(device) for name, mean in tensors.items() if name != "count"}
