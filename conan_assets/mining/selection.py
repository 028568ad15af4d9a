"""In what order a query's surviving candidates become negatives (NV-Retriever, section 4.2).

Each is a pure function of arrays over the survivors of all queries, sorted by query and then rank, and returns
a priority: lower comes first. Every survivor gets one, so that what follows the first K is the pool that dynamic
hard-negative mining draws from.

queries : int64 of shape (survivors,)
    The query of each survivor.
places : int64 of shape (survivors,)
    Its place among its query's survivors, from 0.
scores : float of shape (survivors,)
    The score that a draw is weighted by.
noise : float64 of shape (survivors,)
    Standard Gumbel noise: sorting by score / temperature + noise draws without replacement by softmax.
count : int
    K, the number of negatives that a query needs.
"""

from collections.abc import Callable

import numpy as np

from conan_assets.mining.candidates import ranks_within

Selection = Callable[..., np.ndarray]


def best_first(
    queries: np.ndarray, places: np.ndarray, scores: np.ndarray, noise: np.ndarray, count: int
) -> np.ndarray:
    """Take the survivors best first."""
    return places


def sampled_top_k(
    queries: np.ndarray,
    places: np.ndarray,
    scores: np.ndarray,
    noise: np.ndarray,
    count: int,
    *,
    sample_from: int,
    temperature: float,
) -> np.ndarray:
    """Draw ``count`` of the ``sample_from`` best without replacement, weighted by softmax(score / temperature)."""
    perturbed = np.where(places < sample_from, scores / temperature + noise, -np.inf)
    drawn = ranks_within(queries, perturbed) - 1
    return np.where((drawn < count) & (places < sample_from), drawn, count + places)


def top1_sampled_top_k(
    queries: np.ndarray,
    places: np.ndarray,
    scores: np.ndarray,
    noise: np.ndarray,
    count: int,
    *,
    sample_from: int,
    temperature: float,
) -> np.ndarray:
    """Take the best survivor and draw ``count - 1`` of the next ``sample_from - 1`` best as in ``sampled_top_k``."""
    certain = np.where(places == 0, np.inf, noise)
    return sampled_top_k(queries, places, scores, certain, count, sample_from=sample_from, temperature=temperature)


SELECTIONS: dict[str, Selection] = {rule.__name__: rule for rule in (best_first, sampled_top_k, top1_sampled_top_k)}
