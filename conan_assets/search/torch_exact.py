"""Exact search by matrix products on a GPU, block by block."""

import threading
from collections.abc import Iterator

import numpy as np
import torch

from conan_assets.search.exact import SearchBlock
from conan_assets.search.groups import Groups
from conan_assets.search.ranking import EMPTY, pack
from conan_assets.search.vectors import Matrix, require_finite

DOCUMENTS_PER_BLOCK = 65_536
_one_at_a_time = threading.Lock()
"""Held while a block of queries is searched: its products with a block of documents take a GiB or two of the device."""


def search_block_on(device: str, documents: Matrix) -> SearchBlock:
    """Return a function for ``exact_nearest`` that searches these ``documents`` in full float32, without TF32.

    Blocks of them stay on the device, for all queries, as long as half of its memory is free.
    """
    kept: dict[int, torch.Tensor] = {}

    def blocks() -> Iterator[tuple[int, torch.Tensor]]:
        for start in range(0, documents.shape[0], DOCUMENTS_PER_BLOCK):
            block = kept.get(start)
            if block is None:
                rows = documents.block(start, min(start + DOCUMENTS_PER_BLOCK, documents.shape[0]))
                require_finite(rows, "document", start)
                block = torch.from_numpy(rows).to(device)
                if _has_room(device):
                    kept[start] = block
            yield start, block

    @torch.inference_mode()
    def search_block(queries: np.ndarray, documents: Matrix, k: int, excluded: Groups) -> np.ndarray:
        with _one_at_a_time:
            left = torch.from_numpy(queries).to(device)
            k = min(k, documents.shape[0])
            scores = torch.full((len(queries), 0), -torch.inf, device=device)
            positions = torch.zeros((len(queries), 0), dtype=torch.int64, device=device)
            hidden, rows = excluded.by_member()
            for start, block in blocks():
                found = _products(left, block)
                here = slice(*np.searchsorted(hidden, [start, start + len(block)]))
                found[torch.from_numpy(rows[here]), torch.from_numpy(hidden[here] - start)] = -torch.inf
                new = torch.arange(start, start + len(block), device=device).expand(len(queries), -1)
                scores, best = torch.cat([scores, found], dim=1).topk(min(k, scores.shape[1] + len(block)), dim=1)
                positions = torch.cat([positions, new], dim=1).gather(1, best)
            values = scores.cpu().numpy()
            return np.where(values == -np.inf, EMPTY, pack(values, positions.cpu().numpy()))

    return search_block


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
