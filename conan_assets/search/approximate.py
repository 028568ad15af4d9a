"""Approximate search with a FAISS index."""

from typing import TYPE_CHECKING

import numpy as np

from conan_assets.search.groups import Groups
from conan_assets.search.ranking import EMPTY, Neighbours, pack
from conan_assets.search.vectors import Matrix, blocks_of

if TYPE_CHECKING:
    import faiss

QUERIES_PER_BLOCK = 1_024
DOCUMENTS_PER_BLOCK = 4_096
TRAINING_BLOCKS = 16
FEW_EXCLUDED = 8


class ApproximateIndex:
    """A FAISS index of documents.

    Parameters
    ----------
    index, parameters
        FAISS factory string, such as "IVF256,Flat", and search parameters, such as "nprobe=32".

    Raises
    ------
    ValueError
        FAISS cannot read the strings, or there are too few documents to train the index.
    """

    def __init__(self, index: str, parameters: str, documents: Matrix) -> None:
        try:
            self._built = _build(index, parameters, documents)
        except (RuntimeError, ValueError) as error:
            reason = str(error).rsplit(": ", 1)[-1]
            raise ValueError(
                f"search.index {index!r} with parameters {parameters!r} cannot be built: {reason}"
            ) from error

    def nearest(self, queries: Matrix, k: int, excluded: Groups) -> Neighbours:
        """Return about every query's ``k`` documents of highest dot product, without its ``excluded`` ones."""
        return Neighbours.from_keys(self.keys(queries, k, excluded))

    def keys(self, queries: Matrix, k: int, excluded: Groups) -> np.ndarray:
        """Return them as keys, int64 of shape (queries, k), EMPTY where there are fewer."""
        keys = np.full((queries.shape[0], k), EMPTY, np.int64)
        for start in range(0, queries.shape[0], QUERIES_PER_BLOCK):
            stop = min(start + QUERIES_PER_BLOCK, queries.shape[0])
            block, hidden = queries.block(start, stop), excluded.block(start, stop)
            few = hidden.counts <= FEW_EXCLUDED
            for rows in (np.flatnonzero(few), np.flatnonzero(~few)):
                if len(rows):
                    keys[start + rows] = _search(self._built, block[rows], k, [hidden[row] for row in rows.tolist()])
        return keys


def _search(index: "faiss.Index", queries: np.ndarray, k: int, hidden: list[np.ndarray]) -> np.ndarray:
    """Search deep enough that ``k`` remain when the hidden documents are taken out."""
    scores, positions = index.search(queries, min(k + max(map(len, hidden)), index.ntotal))
    found = np.where(positions < 0, EMPTY, pack(scores, np.maximum(positions, 0)))
    for row, members in enumerate(hidden):
        found[row, np.isin(positions[row], members)] = EMPTY
    keys = np.full((len(queries), max(k, found.shape[1])), EMPTY, np.int64)
    keys[:, : found.shape[1]] = found
    return np.sort(keys, axis=1)[:, -k:]


def _build(index: str, parameters: str, documents: Matrix) -> "faiss.Index":
    import faiss

    built = faiss.index_factory(documents.shape[1], index, faiss.METRIC_INNER_PRODUCT)
    if not built.is_trained:
        blocks = -(-documents.shape[0] // DOCUMENTS_PER_BLOCK)
        chosen = DOCUMENTS_PER_BLOCK * np.linspace(0, blocks - 1, min(TRAINING_BLOCKS, blocks)).astype(int)
        ends = np.minimum(chosen + DOCUMENTS_PER_BLOCK, documents.shape[0])
        built.train(np.concatenate([documents.block(*bounds) for bounds in zip(chosen, ends, strict=True)]))
    for _, block in blocks_of(documents, DOCUMENTS_PER_BLOCK):
        built.add(block)
    for name, _, value in (parameter.partition("=") for parameter in parameters.split(",") if parameter):
        faiss.ParameterSpace().set_index_parameter(built, name.strip(), float(value))
    return built
