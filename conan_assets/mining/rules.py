"""The rules of positive-aware mining as pure functions on arrays (NV-Retriever, arXiv 2407.15831, section 4.1).

A rule answers for every candidate whether it may be kept. All take the same three arrays, so that settings can name
any of them, and one parameter of their own. Comparisons are strict.

scores : float32 or float64 of shape (candidates,)
    A teacher's score rel(q, d) of every candidate.
references : of shape (candidates,)
    The score p of the query's positive under the same teacher.
ranks : integers of shape (candidates,)
    Place of the candidate among its query's candidates under the same teacher, from 1.
"""

from collections.abc import Callable

import numpy as np

Rule = Callable[..., np.ndarray]


def top_k(scores: np.ndarray, references: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """Keep every candidate: naive mining."""
    return np.ones(scores.shape, bool)


def top_k_shifted(scores: np.ndarray, references: np.ndarray, ranks: np.ndarray, *, shift: int) -> np.ndarray:
    """Keep d iff rank > N: the best N are skipped, relevant or not. Published best N = 10.

    >>> top_k_shifted(np.array([0.9, 0.8, 0.7]), np.array([0.8, 0.8, 0.8]), np.array([1, 2, 3]), shift=1)
    array([False,  True,  True])
    """
    return ranks > shift


def top_k_abs(scores: np.ndarray, references: np.ndarray, ranks: np.ndarray, *, threshold: float) -> np.ndarray:
    """Keep d iff s < T. Published best T = 0.7.

    >>> top_k_abs(np.array([0.9, 0.7, 0.6]), np.array([0.8, 0.8, 0.8]), np.array([1, 2, 3]), threshold=0.7)
    array([False, False,  True])
    """
    return scores < threshold


def top_k_margin_pos(scores: np.ndarray, references: np.ndarray, ranks: np.ndarray, *, margin: float) -> np.ndarray:
    """Keep d iff s < p - m. Published best m = 0.05.

    >>> top_k_margin_pos(np.array([0.9, 0.78, 0.6]), np.array([0.8, 0.8, 0.8]), np.array([1, 2, 3]), margin=0.05)
    array([False, False,  True])
    """
    return scores < references - margin


def top_k_perc_pos(scores: np.ndarray, references: np.ndarray, ranks: np.ndarray, *, ratio: float) -> np.ndarray:
    """Keep d iff s < p - |p| (1 - r), which is r p for p > 0. Published best r = 0.95.

    >>> top_k_perc_pos(np.array([0.8, 0.7, -0.3]), np.array([0.8, 0.8, -0.2]), np.array([1, 2, 1]), ratio=0.95)
    array([False,  True,  True])
    """
    kept: np.ndarray = scores < references - np.abs(references) * (1 - ratio)
    return kept


RULES: dict[str, Rule] = {
    rule.__name__: rule for rule in (top_k, top_k_shifted, top_k_abs, top_k_margin_pos, top_k_perc_pos)
}


def apply_rule(
    name: str, scores: np.ndarray, references: np.ndarray, ranks: np.ndarray, parameters: dict[str, float]
) -> np.ndarray:
    """Return the mask of candidates that the rule ``name`` keeps, bool of shape (candidates,).

    Raises
    ------
    ValueError
        A score or a reference is NaN, or no rule has that name.
    """
    if name not in RULES:
        raise ValueError(f"there is no rule {name!r}; the rules are {', '.join(RULES)}")
    for what, values in (("score", scores), ("positive's score", references)):
        if np.isnan(values).any():
            raise ValueError(f"the {what} of candidate {np.flatnonzero(np.isnan(values))[0]} is NaN: score it again")
    return RULES[name](scores, references, ranks, **parameters)
