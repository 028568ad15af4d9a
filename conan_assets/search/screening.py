"""Exact search at about half the cost: bfloat16 products find what may be among the best, float32 products decide.

Let q', d' be q, d rounded to bfloat16. Then |q.d - q'.d'| <= |q - q'| |d| + |q'| |d - d'| by Cauchy-Schwarz, plus the
error of summing q'.d' in float32, at most dim * 2**-23 |q'| |d'|. Call the sum of these bounds e. The product comes
rounded to bfloat16, which changes it by at most 2**-8 of itself. Among any k documents of a query the worst exact
product is at least their worst rounded one, p, less its rounding and e. So a document is not among the best k if its
rounded product lies more than

    2 e + 2 * 2**-8 |p|    (and 1 % more, since each rounding is relative to its own product)

below p. The few others are multiplied again in float32.
"""

import contextlib
from collections.abc import Iterator

import numpy as np
import torch

from conan_assets.search.exact import SearchBlock, search_block_on_cpu
from conan_assets.search.groups import Groups
from conan_assets.search.ranking import EMPTY, CloseToBest, CrowdedError, pack, positions_of
from conan_assets.search.vectors import (
    ArrayVectors,
    Matrix,
    blocks_of,
    finite_blocks_of,
    paired_products,
)

DOCUMENTS_PER_BLOCK = 512
ROUNDING = 2.0**-8
SUMMATION = 2.0**-23
MORE = 1.01


def search_block_with_screening(documents: Matrix) -> SearchBlock:
    """Return a function for ``exact_nearest`` that searches these ``documents`` on the CPU.

    Where too many documents are too close to the k-th best to be told apart, it multiplies all in float32.
    """
    norm, error = _largest_norms(documents)

    def search_block(queries: np.ndarray, documents: Matrix, k: int, excluded: Groups) -> np.ndarray:
        k = min(k, documents.shape[0])
        rounded = torch.from_numpy(queries).bfloat16().float().numpy()
        bound = _norms(queries - rounded) * norm + _norms(rounded) * error
        bound += SUMMATION * queries.shape[1] * _norms(rounded) * (norm + error)
        close = CloseToBest(len(queries), k, MORE * 2 * bound, MORE * 2 * ROUNDING)
        try:
            _screen(close, queries, documents, excluded)
        except CrowdedError:
            return search_block_on_cpu(queries, documents, k, excluded)
        exact = _multiply_again(close.keys(), queries, documents)
        return np.partition(exact, exact.shape[1] - k, axis=1)[:, -k:]

    return search_block


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """Let every Python thread multiply on its own."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@torch.inference_mode()
def _screen(close: CloseToBest, queries: np.ndarray, documents: Matrix, excluded: Groups) -> None:
    left = torch.from_numpy(queries).bfloat16()
    hidden, rows = excluded.by_member()
    for start, block in blocks_of(documents, DOCUMENTS_PER_BLOCK):
        products = (left @ torch.from_numpy(block).bfloat16().T).float().numpy()
        here = slice(*np.searchsorted(hidden, [start, start + len(block)]))
        products[rows[here], hidden[here] - start] = -np.inf
        close.add(products, start)


def _multiply_again(keys: np.ndarray, queries: np.ndarray, documents: Matrix) -> np.ndarray:
    """Return ``keys`` with the float32 products as scores."""
    places = np.flatnonzero(keys != EMPTY)
    positions = positions_of(keys.reshape(-1)[places])
    order = np.argsort(positions)
    places, positions = places[order], positions[order]
    rows = places // keys.shape[1]
    exact = np.full(keys.size, EMPTY, np.int64)
    left = ArrayVectors(queries)
    for start, block in blocks_of(documents, DOCUMENTS_PER_BLOCK):
        part = slice(*np.searchsorted(positions, [start, start + len(block)]))
        products = paired_products(left, ArrayVectors(block), rows[part], positions[part] - start)
        exact[places[part]] = pack(products, positions[part])
    return exact.reshape(keys.shape)


def _largest_norms(documents: Matrix) -> tuple[float, float]:
    """Return the largest |d| and the largest |d - d'|."""
    norm = error = 0.0
    for _, block in finite_blocks_of(documents, DOCUMENTS_PER_BLOCK, "document"):
        rounded = torch.from_numpy(block).bfloat16().float().numpy()
        norm, error = max(norm, _norms(block).max()), max(error, _norms(block - rounded).max())
    return norm, error


def _norms(rows: np.ndarray) -> np.ndarray:
    lengths: np.ndarray = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    return lengths
