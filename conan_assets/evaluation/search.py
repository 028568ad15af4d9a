"""Exact search by cosine in blocks over queries and documents: memory does not grow with either."""

import numpy as np
import torch

from conan_assets.encoding.store import Embeddings

QUERIES_PER_BLOCK = 1_024
DOCUMENTS_PER_BLOCK = 16_384


def top_k(queries: Embeddings, documents: Embeddings, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ``k`` nearest documents of every query, best first.

    Returns
    -------
    scores, positions
        Cosines, float32, and row numbers in ``documents``, int64; both of shape (queries, min(k, documents)).
    """
    k = min(k, len(documents))
    scores = np.empty((len(queries), k), np.float32)
    positions = np.empty((len(queries), k), np.int64)
    for start, block in queries.blocks(QUERIES_PER_BLOCK):
        best_scores, best_positions = _search_block(_unit(block), documents, k)
        scores[start : start + len(block)] = best_scores.numpy()
        positions[start : start + len(block)] = best_positions.numpy()
    return scores, positions


def cosines(query: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """Return the cosine of ``query``, shape (dim,), and each row of ``documents``, shape (documents, dim)."""
    return (_unit(documents) @ _unit(query[None])[0]).numpy()


def _search_block(queries: torch.Tensor, documents: Embeddings, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    best_scores = torch.empty((len(queries), 0))
    best_positions = torch.empty((len(queries), 0), dtype=torch.int64)
    for start, block in documents.blocks(DOCUMENTS_PER_BLOCK):
        scores, positions = torch.topk(queries @ _unit(block).T, min(k, len(block)), dim=1)
        scores = torch.cat([best_scores, scores], dim=1)
        positions = torch.cat([best_positions, positions + start], dim=1)
        best_scores, kept = torch.topk(scores, min(k, scores.shape[1]), dim=1)
        best_positions = positions.gather(1, kept)
    return best_scores, best_positions


def _unit(rows: np.ndarray) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.from_numpy(rows), dim=1)
