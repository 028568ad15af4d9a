"""Exact search by matrix products on a GPU, block by block."""

import numpy as np
import torch

from conan_assets.search.exact import SearchBlock
from conan_assets.search.groups import Groups
from conan_assets.search.ranking import EMPTY, pack
from conan_assets.search.vectors import Matrix, finite_blocks_of

DOCUMENTS_PER_BLOCK = 65_536


def search_block_on(device: str) -> SearchBlock:
    """Return a function for ``exact_nearest`` that searches on ``device`` in full float32, without TF32."""

    @torch.inference_mode()
    def search_block(queries: np.ndarray, documents: Matrix, k: int, excluded: Groups) -> np.ndarray:
        left = torch.from_numpy(queries).to(device)
        k = min(k, documents.shape[0])
        scores = torch.full((len(queries), 0), -torch.inf, device=device)
        positions = torch.zeros((len(queries), 0), dtype=torch.int64, device=device)
        hidden, rows = excluded.by_member()
        for start, block in finite_blocks_of(documents, DOCUMENTS_PER_BLOCK, "document"):
            found = _products(left, torch.from_numpy(block).to(device))
            here = slice(*np.searchsorted(hidden, [start, start + len(block)]))
            found[torch.from_numpy(rows[here]), torch.from_numpy(hidden[here] - start)] = -torch.inf
            new = torch.arange(start, start + len(block), device=device).expand(len(queries), -1)
            scores, best = torch.cat([scores, found], dim=1).topk(min(k, scores.shape[1] + len(block)), dim=1)
            positions = torch.cat([positions, new], dim=1).gather(1, best)
        values = scores.cpu().numpy()
        return np.where(values == -np.inf, EMPTY, pack(values, positions.cpu().numpy()))

    return search_block


def _products(queries: torch.Tensor, documents: torch.Tensor) -> torch.Tensor:
    previous = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        return queries @ documents.T
    finally:
        torch.set_float32_matmul_precision(previous)
