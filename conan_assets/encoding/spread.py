"""How much of the space embeddings use: a model that maps everything to one place finds nothing."""

import numpy as np


def count_not_finite(embeddings: np.ndarray) -> int:
    """Return how many rows of embeddings of shape (n, dim) have a component that is NaN or infinite."""
    return int((~np.isfinite(embeddings).all(axis=1)).sum())


def mean_cosine(embeddings: np.ndarray) -> float:
    """Return the mean cosine over all pairs of different rows; ``embeddings`` has shape (n, dim), rows of length 1."""
    count = len(embeddings)
    total = np.square(embeddings.sum(axis=0, dtype=np.float64)).sum()
    return float((total - count) / (count * (count - 1)))


def effective_rank(embeddings: np.ndarray) -> float:
    """Return the number of dimensions in use, from 1 to min(n, dim), of finite embeddings of shape (n, dim).

    The exponential of the entropy of the normalised singular values (Roy & Vetterli 2007, "The effective rank").
    """
    values = np.linalg.svd(embeddings.astype(np.float64), compute_uv=False)
    shares = values / values.sum()
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))
