"""Several teachers' rankings of the same survivors combined (NV-Retriever, section 4.3).

Each method is a pure function of ``ranks``, int64 of shape (teachers, survivors): the place, from 0, that each teacher
gives a survivor among its query's. It returns a priority (lower comes first) and how often each survivor counts in the
loss, both int64 of shape (survivors,).
"""

from collections.abc import Callable

import numpy as np

Ensemble = Callable[..., tuple[np.ndarray, np.ndarray]]


def cross_sample(ranks: np.ndarray, chosen: np.ndarray, count: int, *, dedup: bool) -> tuple[np.ndarray, np.ndarray]:
    """One teacher, drawn at random for each query, gives all its negatives.

    Parameters
    ----------
    chosen
        int64 of shape (survivors,): the teacher drawn for the survivor's query.
    """
    return ranks[chosen, np.arange(ranks.shape[1])], np.ones(ranks.shape[1], np.int64)


def intra_sample(ranks: np.ndarray, chosen: np.ndarray, count: int, *, dedup: bool) -> tuple[np.ndarray, np.ndarray]:
    """Teachers take turns, each giving its best, then its next best, for ``count`` turns.

    A document named in several of those turns counts as often; with ``dedup`` it counts once, and the next document
    in the order of turns fills the place.
    """
    teachers = len(ranks)
    turns = ranks * teachers + np.arange(teachers)[:, None]
    copies = np.ones(ranks.shape[1], np.int64) if dedup else np.maximum((turns < count).sum(axis=0), 1)
    return turns.min(axis=0), copies


ENSEMBLES: dict[str, Ensemble] = {method.__name__: method for method in (cross_sample, intra_sample)}
