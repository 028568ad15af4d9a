"""A collection's candidates with their scores and verdicts, as parallel arrays."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from conan_assets.mining.collection import Collection
from conan_assets.search.ranking import Neighbours, scores_to_integers

RRF_CONSTANT = 60


class Verdicts:
    """Which candidates are kept, and why each was removed, or kept although no rule looked at it.

    Attributes
    ----------
    kept
        bool of shape (candidates,).
    """

    def __init__(self, size: int) -> None:
        self.kept = np.ones(size, bool)
        self._labels = [""]
        self._codes = np.zeros(size, np.int16)

    def remove(self, mask: np.ndarray, reason: str) -> None:
        """Remove the candidates of ``mask`` that are still kept; a reason given before stays."""
        self.note(mask & self.kept, reason)
        self.kept &= ~mask

    def note(self, mask: np.ndarray, reason: str) -> None:
        """Give the candidates of ``mask`` a reason."""
        self._labels.append(reason)
        self._codes[mask] = len(self._labels) - 1

    def reasons(self) -> pl.Series:
        """Return the reason of every candidate, null where there is none."""
        return pl.Series("reason", [label or None for label in self._labels], pl.String).gather(self._codes)


@dataclass
class Candidates:
    """Candidates sorted by query, then rank.

    Attributes
    ----------
    queries, documents
        Positions, int64 of shape (candidates,).
    ranks
        From 1 within a query, int64.
    exempt
        Whether it was judged or written as a negative, so that no rule applies to it; bool.
    scores
        float32 by teacher, the student among them; NaN where not known yet: at first, where it did not find it.
    found_by
        The sources whose search gave the candidate: one bit each, in the order of ``scores``; uint64.
    order, copies
        Place among its query's kept negatives from 1 (0 for none), and how often it counts in the loss; int64.
    """

    queries: np.ndarray
    documents: np.ndarray
    ranks: np.ndarray
    exempt: np.ndarray
    scores: dict[str, np.ndarray]
    found_by: np.ndarray = field(init=False)
    verdicts: Verdicts = field(init=False)
    order: np.ndarray = field(init=False)
    copies: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self._sources = list(self.scores)
        self.found_by = np.zeros(len(self.queries), np.uint64)
        for bit, found in enumerate(self.scores.values()):
            self.found_by |= (~np.isnan(found)).astype(np.uint64) << np.uint64(bit)
        self.verdicts = Verdicts(len(self.queries))
        self.order = np.zeros(len(self.queries), np.int64)
        self.copies = np.ones(len(self.queries), np.int64)

    def frame(self, collection: Collection) -> pl.DataFrame:
        """Return the negatives table of these candidates."""
        kept = self.verdicts.kept
        return collection.ids_frame(self.queries, self.documents).with_columns(
            pl.Series("rank", self.ranks, pl.Int32),
            *(pl.Series(f"{name}_score", values, pl.Float32) for name, values in self.scores.items()),
            pl.when(pl.Series(kept)).then(pl.lit("kept")).otherwise(pl.lit("removed")).alias("verdict"),
            self.verdicts.reasons(),
            self._finders(),
            pl.when(pl.Series(kept)).then(pl.Series(self.order, dtype=pl.Int32)).alias("order"),
            pl.when(pl.Series(kept)).then(pl.Series(self.copies, dtype=pl.Int32)).alias("copies"),
        )

    def _finders(self) -> pl.Series:
        """Return the names of the sources that found each candidate, null for one that was written, judged or drawn."""
        codes, rows = np.unique(self.found_by, return_inverse=True)
        named = [[name for bit, name in enumerate(self._sources) if int(code) >> bit & 1] for code in codes]
        return pl.Series("found_by", [", ".join(names) or None for names in named], pl.String).gather(rows)


def places_within(queries: np.ndarray) -> np.ndarray:
    """Return each row's place among its query's, from 0, for ``queries`` in sorted order; int64."""
    counts = np.bincount(queries)
    places: np.ndarray = np.arange(len(queries)) - (np.cumsum(counts) - counts)[queries]
    return places


def ranks_within(queries: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return each row's place among its query's by float32 score, best from 1, ties in the order given; int64."""
    keys = (queries << 32) - scores_to_integers(scores.astype(np.float32))
    order = np.argsort(keys, kind="stable")
    ranks = np.empty(len(queries), np.int64)
    ranks[order] = places_within(queries[order]) + 1
    return ranks


def fuse(sources: Mapping[str, Neighbours], documents: int) -> Candidates:
    """Return the union of several sources' results, with each source's score where it gave one.

    The rank is by reciprocal rank fusion (Cormack et al., SIGIR 2009), the sum of 1 / (60 + rank) over the sources.

    Parameters
    ----------
    documents
        Number of documents that positions refer to.
    """
    if len(sources) == 1:
        return _alone(*next(iter(sources.items())))
    found = {name: np.nonzero(source.positions >= 0) for name, source in sources.items()}
    keys = [rows * documents + sources[name].positions[rows, columns] for name, (rows, columns) in found.items()]
    weights = [1 / (RRF_CONSTANT + columns + 1) for _, columns in found.values()]
    distinct, inverse = np.unique(np.concatenate(keys), return_inverse=True)
    fused = np.bincount(inverse, np.concatenate(weights), len(distinct))
    queries, positions = np.divmod(distinct, documents)
    order = np.lexsort((-fused, queries))
    places = np.split(inverse, np.cumsum([len(part) for part in keys])[:-1])
    scores = {}
    for place, (name, (rows, columns)) in zip(places, found.items(), strict=True):
        known = np.full(len(distinct), np.nan, np.float32)
        known[place] = sources[name].scores[rows, columns]
        scores[name] = known[order]
    queries = queries[order]
    ranks = places_within(queries) + 1
    return Candidates(queries, positions[order], ranks, np.zeros(len(queries), bool), scores)


def _alone(name: str, source: Neighbours) -> Candidates:
    queries, columns = np.nonzero(source.positions >= 0)
    scores = {name: source.scores[queries, columns]}
    documents = source.positions[queries, columns]
    return Candidates(queries, documents, columns + 1, np.zeros(len(queries), bool), scores)
