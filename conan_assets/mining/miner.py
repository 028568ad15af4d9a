"""Mining of one collection: the steps, in the order they happen."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from conan_assets.data.tables import QUERY_DROPPED
from conan_assets.mining.candidates import Candidates, fuse, places_within, ranks_within
from conan_assets.mining.collection import Collection, MiningError
from conan_assets.mining.ensembles import ENSEMBLES
from conan_assets.mining.guard import Guard
from conan_assets.mining.rules import apply_rule
from conan_assets.mining.selection import SELECTIONS
from conan_assets.mining.settings import STUDENT, MiningSettings
from conan_assets.search.ranking import Neighbours
from conan_assets.search.retriever import Retriever

MINING_VERSION = 4
"""Raise it when the same candidates and scores give other negatives than before, or other files beside them."""

DRAWS_PER_MISSING = 8
BEYOND_REASON = "beyond_pool_depth"
WRITTEN_REASON = "judged_or_written"
RANDOM_REASON = "random_document"

_REFERENCES = {"min": np.minimum.reduceat, "max": np.maximum.reduceat, "mean": np.add.reduceat}


def require_enough_documents(settings: MiningSettings, collection: Collection) -> None:
    """Raise MiningError if more negatives are asked for than a collection's corpus has documents."""
    needed, size = settings.negatives_per_query, collection.corpus_size
    if needed > size:
        raise MiningError(
            f"mining asks for {needed} negatives per query and the corpus of {collection.dataset!r} has "
            f"{size} documents: lower mining.negatives_per_query or add documents"
        )


@dataclass(frozen=True)
class Miner:
    """Vetoes and orders the negatives of a collection, or of a part of its queries.

    Attributes
    ----------
    retrievers
        The student and every teacher that the settings name.
    guard
        Knows the texts of the collection's documents.
    """

    settings: MiningSettings
    collection: Collection
    retrievers: Mapping[str, Retriever]
    guard: Guard

    def mine(self, sources: Mapping[str, Neighbours]) -> Iterator[Candidates]:
        """Yield the candidates of ``sources`` with their verdicts and order, and then what filled up shortages."""
        candidates = self._with_written(fuse(sources, len(self.collection.doc_ids)))
        self._assess(candidates)
        self._order(candidates)
        yield candidates
        if self.settings.on_shortage == "resample":
            yield self._resample(candidates)

    def _with_written(self, found: Candidates) -> Candidates:
        """Put the documents judged irrelevant, and negatives written by hand or by an LLM, before what was found."""
        judged = self.collection.irrelevant
        if not len(judged.members):
            return found
        rows = judged.rows
        new = ~np.isin(self._keys(found.queries, found.documents), self._keys(rows, judged.members))
        queries = np.concatenate([rows, found.queries[new]])
        order = np.argsort(queries, kind="stable")
        queries = queries[order]
        exempt = (np.arange(len(order)) < len(rows))[order]
        unknown = np.full(len(rows), np.nan, np.float32)
        scores = {name: np.concatenate([unknown, known[new]])[order] for name, known in found.scores.items()}
        documents = np.concatenate([judged.members, found.documents[new]])[order]
        return Candidates(queries, documents, places_within(queries) + 1, exempt, scores)

    def _assess(self, candidates: Candidates) -> None:
        """Score candidates with the student and every teacher, then apply the guard and every veto."""
        candidates.scores = {name: self._scores(name, candidates) for name in self.retrievers}
        self.guard.check(self.collection, candidates)
        for veto in self.settings.veto:
            scores = candidates.scores[veto.teacher]
            ranks = ranks_within(candidates.queries, scores)
            references = self.references[veto.teacher][candidates.queries]
            passed = apply_rule(veto.rule, scores, references, ranks, veto.parameters)
            candidates.verdicts.remove(~passed & ~candidates.exempt, f"{veto.teacher}:{veto.rule}")
        candidates.verdicts.note(candidates.exempt & candidates.verdicts.kept, WRITTEN_REASON)

    def _order(self, candidates: Candidates) -> None:
        """Give every query's survivors their order and cut them to the pool's depth; drop short queries if told to."""
        if self.settings.on_shortage == "drop":
            short = self._kept(candidates) < self.settings.negatives_per_query
            candidates.verdicts.remove(short[candidates.queries], QUERY_DROPPED)
        survivors = np.flatnonzero(candidates.verdicts.kept)
        priority, candidates.copies[survivors] = self._priority(candidates, survivors)
        candidates.order[survivors] = ranks_within(candidates.queries[survivors], -priority)
        candidates.verdicts.remove(candidates.order > self.settings.pool_depth, BEYOND_REASON)

    def _priority(self, candidates: Candidates, survivors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        needed, ensemble, selection = self.settings.negatives_per_query, self.settings.ensemble, self.settings.selection
        queries = candidates.queries[survivors]
        generator = self._generator("selection", candidates)
        if ensemble is not None:
            ranks = [ranks_within(queries, candidates.scores[name][survivors]) - 1 for name in ensemble.teachers]
            last = self.collection.first + len(self.collection)
            drawn = generator.integers(len(ranks), size=last)[self.collection.first :]
            return ENSEMBLES[ensemble.rule](np.stack(ranks), drawn[queries], needed, dedup=ensemble.dedup)
        scores = candidates.scores[getattr(selection, "teacher", STUDENT)][survivors]
        noise = generator.gumbel(size=len(survivors))
        parameters = selection.model_dump(exclude={"rule", "teacher"})
        places = self._places(candidates, survivors)
        priority = SELECTIONS[selection.rule](queries, places, scores, noise, needed, **parameters)
        return priority, np.ones(len(survivors), np.int64)

    def _places(self, candidates: Candidates, survivors: np.ndarray) -> np.ndarray:
        """Return each survivor's place among its query's, from 0: the source's, or the student's if there are several.

        Sources that took turns would put documents that are easy for the student among the first.
        """
        queries = candidates.queries[survivors]
        if len(self.settings.candidates) == 1:
            return places_within(queries)
        hardness = np.where(candidates.exempt, np.inf, candidates.scores[STUDENT])
        return ranks_within(queries, hardness[survivors]) - 1

    def _resample(self, candidates: Candidates) -> Candidates:
        """Return random documents that pass the guard and every veto, for the queries with too few negatives."""
        kept = self._kept(candidates)
        drawn = self._draw(candidates, kept)
        self._assess(drawn)
        passed = np.flatnonzero(drawn.verdicts.kept)
        drawn.order[passed] = kept[drawn.queries[passed]] + places_within(drawn.queries[passed]) + 1
        drawn.verdicts.note(drawn.verdicts.kept, RANDOM_REASON)
        drawn.verdicts.remove(drawn.order > self.settings.negatives_per_query, BEYOND_REASON)
        return drawn

    def _draw(self, candidates: Candidates, kept: np.ndarray) -> Candidates:
        """Draw several documents for each missing negative that are neither candidates nor positives of the query."""
        missing = np.maximum(self.settings.negatives_per_query - kept, 0)
        queries = np.repeat(np.arange(len(missing)), missing * DRAWS_PER_MISSING)
        documents = self._generator("documents", candidates).integers(self.collection.corpus_size, size=len(queries))
        keys, first = np.unique(self._keys(queries, documents), return_index=True)
        positives = self.collection.positives
        taken = np.isin(keys, self._keys(candidates.queries, candidates.documents))
        taken |= np.isin(keys, self._keys(positives.rows, positives.members))
        rows = np.sort(first[~taken])
        found = np.bincount(candidates.queries, minlength=len(missing))[queries[rows]]
        ranks = found + places_within(queries[rows]) + 1
        return Candidates(queries[rows], documents[rows], ranks, np.zeros(len(rows), bool), {})

    def _scores(self, name: str, candidates: Candidates) -> np.ndarray:
        """Return the scores of a teacher: those its search gave, and the others computed."""
        scores = candidates.scores.get(name, np.full(len(candidates.queries), np.nan, np.float32))
        unknown = np.flatnonzero(np.isnan(scores))
        if len(unknown):
            scores[unknown] = self._score(name, candidates.queries[unknown], candidates.documents[unknown])
        return scores

    def _score(self, name: str, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        """Return the score of each pair of positions by one teacher; it is shown the queries of these pairs alone."""
        asked, rows = np.unique(queries, return_inverse=True)
        return self.retrievers[name].score(self.collection.queries.gather(asked).to_list(), rows, documents)

    @cached_property
    def positive_scores(self) -> dict[str, np.ndarray]:
        """Scores of all positives by teacher, float32 of shape (positives,)."""
        positives = self.collection.positives
        return {name: self._score(name, positives.rows, positives.members) for name in self.retrievers}

    @cached_property
    def references(self) -> dict[str, np.ndarray]:
        """The positive score that rules compare with, per query, by teacher; float32 of shape (queries,)."""
        positives, reference = self.collection.positives, self.settings.positive_score
        starts = positives.offsets[:-1]
        divisor = positives.counts if reference == "mean" else 1
        return {name: _REFERENCES[reference](scores, starts) / divisor for name, scores in self.positive_scores.items()}

    def _kept(self, candidates: Candidates) -> np.ndarray:
        """Return how many candidates of every query are kept, int64 of shape (queries,)."""
        return np.bincount(candidates.queries[candidates.verdicts.kept], minlength=len(self.collection))

    def _generator(self, purpose: str, candidates: Candidates) -> np.random.Generator:
        """Return the generator for one purpose and part, the same for the same seed and data."""
        first = self.collection.first + int(candidates.queries[0]) if len(candidates.queries) else 0
        return np.random.default_rng([self.settings.seed, first, *f"{self.collection.dataset}/{purpose}".encode()])

    def _keys(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        keys: np.ndarray = queries * len(self.collection.doc_ids) + documents
        return keys
