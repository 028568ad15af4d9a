"""Exact search by matrix products on a GPU, block by block."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from conan_assets.search.groups import Groups
from conan_assets.search.ranking import EMPTY, pack
from conan_assets.search.vectors import Matrix, require_finite

DOCUMENTS_PER_BLOCK = 65_536


class DeviceSearch:
    """Searches documents for ``exact_nearest`` on one device, in full float32, without TF32.

    Blocks of them stay on the device, for all queries, as long as half of its memory is free: it is asked about the
    same documents every time.
    """

    def __init__(self, device: str) -> None:
        self._device = device
        self._kept: dict[int, torch.Tensor] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs; it puts the blocks on its own device."""
        return {"_device": self._device, "_kept": {}}

    @torch.inference_mode()
    def __call__(self, queries: np.ndarray, documents: Matrix, k: int, excluded: Groups) -> np.ndarray:
        """Return the keys of the best ``k`` documents of each query, int64 of shape (queries, k)."""
        device = self._device
        left = torch.from_numpy(queries).to(device)
        k = min(k, documents.shape[0])
        scores = torch.full((len(queries), 0), -torch.inf, device=device)
        positions = torch.zeros((len(queries), 0), dtype=torch.int64, device=device)
        hidden, rows = excluded.by_member()
        for start, block in self._blocks(documents):
            found = _products(left, block)
            here = slice(*np.searchsorted(hidden, [start, start + len(block)]))
            found[torch.from_numpy(rows[here]), torch.from_numpy(hidden[here] - start)] = -torch.inf
            new = torch.arange(start, start + len(block), device=device).expand(len(queries), -1)
            scores, best = torch.cat([scores, found], dim=1).topk(min(k, scores.shape[1] + len(block)), dim=1)
            positions = torch.cat([positions, new], dim=1).gather(1, best)
        values = scores.cpu().numpy()
        return np.where(values == -np.inf, EMPTY, pack(values, positions.cpu().numpy()))

    def _blocks(self, documents: Matrix) -> Iterator[tuple[int, torch.Tensor]]:
        for start in range(0, documents.shape[0], DOCUMENTS_PER_BLOCK):
            block = self._kept.get(start)
            if block is None:
                rows = documents.block(start, min(start + DOCUMENTS_PER_BLOCK, documents.shape[0]))
                require_finite(rows, "document", start)
                block = torch.from_numpy(rows).to(self._device)
                if _has_room(self._device):
                    self._kept[start] = block
            yield start, block


def _has_room(device: str) -> bool:
    if not device.startswith("cuda"):
        return True
    free, total = torch.cuda.mem_get_info(device)
    return 2 * free > total


def _products(queries: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
    previous = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        return queries @ documents.T
    finally:
        torch.set_float32_matmul_precision(previous)
