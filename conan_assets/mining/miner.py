"""Mining of one collection: the steps, in the order they happen."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from conan_assets.mining.candidates import Candidates, fuse, places_within, ranks_within
from conan_assets.mining.collection import Collection, MiningError
from conan_assets.mining.duplicates import EQUAL, NEAR, Shingles, compare_with_positives
from conan_assets.mining.ensembles import ENSEMBLES
from conan_assets.mining.groups import Groups
from conan_assets.mining.ranking import Neighbours
from conan_assets.mining.rules import apply_rule
from conan_assets.mining.scorers import Scorer
from conan_assets.mining.selection import VARIANTS
from conan_assets.mining.settings import STUDENT, MiningSettings

EQUAL_REASON = "equal_to_positive"
NEAR_REASON = "nearly_equal_to_positive"
BEYOND_REASON = "beyond_pool_depth"
SHORTAGE_REASON = "query_dropped_for_shortage"
WRITTEN_REASON = "judged_or_written"
RANDOM_REASON = "random_document"
DRAWS_PER_MISSING = 4

_ANCHORS = {"min": np.minimum.reduceat, "max": np.maximum.reduceat, "mean": np.add.reduceat}


@dataclass(frozen=True)
class Miner:
    """Finds, vetoes and orders the negatives of one collection.

    Attributes
    ----------
    scorers
        The student and every teacher that the settings name.
    """

    settings: MiningSettings
    collection: Collection
    scorers: Mapping[str, Scorer]

    def __post_init__(self) -> None:
        needed, size = self.settings.negatives_per_query, self.collection.corpus_size
        if needed > size:
            raise MiningError(
                f"mining asks for {needed} negatives per query and the corpus of {self.collection.dataset!r} has "
                f"{size} documents: lower mining.negatives_per_query or add documents"
            )

    def search(self) -> dict[str, Neighbours]:
        """Return the candidates of every source that the settings name."""
        return {name: self.scorers[name].search(self.settings.depth) for name in self.settings.candidates}

    def mine(self, sources: Mapping[str, Neighbours]) -> list[Candidates]:
        """Return the candidates of ``sources`` with their verdicts and order, and those drawn to fill a shortage."""
        candidates = self.with_written(fuse(sources, len(self.collection.doc_ids)))
        self.assess(candidates)
        self.order(candidates)
        if self.settings.on_shortage == "resample":
            return [candidates, self.resample(candidates)]
        return [candidates]

    def with_written(self, found: Candidates) -> Candidates:
        """Put the documents judged irrelevant, and negatives written by hand or by an LLM, before what was found."""
        judged = self.collection.irrelevant
        new = ~np.isin(self._keys(found.queries, found.documents), self._keys(judged.rows, judged.members))
        queries = np.concatenate([judged.rows, found.queries[new]])
        order = np.argsort(queries, kind="stable")
        queries = queries[order]
        exempt = (np.arange(len(order)) < len(judged.members))[order]
        unknown = np.full(len(judged.members), np.nan, np.float32)
        scores = {name: np.concatenate([unknown, known[new]])[order] for name, known in found.scores.items()}
        documents = np.concatenate([judged.members, found.documents[new]])[order]
        return Candidates(queries, documents, places_within(queries) + 1, exempt, scores)

    def assess(self, candidates: Candidates) -> None:
        """Score candidates with the student and every teacher, then apply the guard and every veto."""
        candidates.scores = {name: self._scores(name, candidates) for name in self.scorers}
        self._guard(candidates)
        for veto in self.settings.veto:
            scores = candidates.scores[veto.teacher]
            ranks = ranks_within(candidates.queries, scores)
            anchors = self.anchors[veto.teacher][candidates.queries]
            passed = apply_rule(veto.rule, scores, anchors, ranks, veto.parameters)
            candidates.verdicts.remove(~passed & ~candidates.exempt, f"{veto.teacher}:{veto.rule}")
        candidates.verdicts.note(candidates.exempt & candidates.verdicts.kept, WRITTEN_REASON)

    def order(self, candidates: Candidates) -> None:
        """Give every query's survivors their order and cut them to the pool's depth; drop short queries if told to."""
        needed = self.settings.negatives_per_query
        survivors = np.flatnonzero(candidates.verdicts.kept)
        counts = np.bincount(candidates.queries[survivors], minlength=len(self.collection.queries))
        if self.settings.on_shortage == "drop":
            candidates.verdicts.remove(counts[candidates.queries] < needed, SHORTAGE_REASON)
            survivors = np.flatnonzero(candidates.verdicts.kept)
        priority, candidates.copies[survivors] = self._priority(candidates, survivors)
        candidates.order[survivors] = ranks_within(candidates.queries[survivors], -priority)
        candidates.verdicts.remove(candidates.order > self.settings.pool_depth, BEYOND_REASON)

    def resample(self, candidates: Candidates) -> Candidates:
        """Return random documents for the queries with too few negatives, drawn until enough pass or none are left."""
        kept = np.bincount(candidates.queries[candidates.verdicts.kept], minlength=len(self.collection.queries))
        missing = np.maximum(self.settings.negatives_per_query - kept, 0)
        drawn = self._draw(missing, candidates)
        self.assess(drawn)
        passed = np.flatnonzero(drawn.verdicts.kept)
        places = places_within(drawn.queries[passed])
        drawn.order[passed] = kept[drawn.queries[passed]] + places + 1
        drawn.verdicts.note(drawn.verdicts.kept, RANDOM_REASON)
        drawn.verdicts.remove(drawn.order > self.settings.negatives_per_query, BEYOND_REASON)
        return drawn

    def _draw(self, missing: np.ndarray, candidates: Candidates) -> Candidates:
        """Draw documents at random that are neither candidates nor positives of their query."""
        positives = self.collection.positives
        queries = np.repeat(np.arange(len(missing)), missing * DRAWS_PER_MISSING)
        documents = self._generator("random documents").integers(self.collection.corpus_size, size=len(queries))
        keys, first = np.unique(self._keys(queries, documents), return_index=True)
        seen = np.isin(keys, self._keys(candidates.queries, candidates.documents))
        seen |= np.isin(keys, self._keys(positives.rows, positives.members))
        rows = np.sort(first[~seen])
        found = np.bincount(candidates.queries, minlength=len(missing))[queries[rows]]
        ranks = found + places_within(queries[rows]) + 1
        return Candidates(queries[rows], documents[rows], ranks, np.zeros(len(rows), bool), {})

    def _scores(self, name: str, candidates: Candidates) -> np.ndarray:
        """Return the scores of a teacher: those its search gave, and the others computed."""
        scores = candidates.scores.get(name, np.full(len(candidates.queries), np.nan, np.float32))
        unknown = np.flatnonzero(np.isnan(scores))
        if len(unknown):
            scores[unknown] = self.scorers[name].score(candidates.queries[unknown], candidates.documents[unknown])
        return scores

    def _guard(self, candidates: Candidates) -> None:
        positives, guard = self.collection.positives, self.settings.guard
        documents = np.union1d(candidates.documents, positives.members)
        relation = compare_with_positives(
            Shingles.of(self.collection.texts.gather(documents)),
            candidates.queries,
            np.searchsorted(documents, candidates.documents),
            Groups(positives.offsets, np.searchsorted(documents, positives.members)),
            guard.containment,
            guard.min_length_ratio,
        )
        candidates.verdicts.remove(relation == EQUAL, EQUAL_REASON)
        candidates.verdicts.remove((relation == NEAR) & ~candidates.exempt, NEAR_REASON)

    @cached_property
    def positive_scores(self) -> dict[str, np.ndarray]:
        """Scores of all positives by teacher, float32 of shape (positives,)."""
        positives = self.collection.positives
        return {name: scorer.score(positives.rows, positives.members) for name, scorer in self.scorers.items()}

    @cached_property
    def anchors(self) -> dict[str, np.ndarray]:
        """The positive score that rules compare with, per query, by teacher; float32 of shape (queries,)."""
        positives, anchor = self.collection.positives, self.settings.anchor
        divisor = positives.counts if anchor == "mean" else 1
        return {
            name: _ANCHORS[anchor](scores, positives.offsets[:-1]) / divisor
            for name, scores in self.positive_scores.items()
        }

    def _priority(self, candidates: Candidates, survivors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        needed, ensemble, selection = self.settings.negatives_per_query, self.settings.ensemble, self.settings.selection
        queries = candidates.queries[survivors]
        if ensemble is not None:
            ranks = np.stack(
                [ranks_within(queries, candidates.scores[name][survivors]) - 1 for name in ensemble.teachers]
            )
            drawn = self._generator("teachers").integers(len(ranks), size=len(self.collection.queries))
            return ENSEMBLES[ensemble.method](ranks, drawn[queries], needed, dedup=ensemble.dedup)
        scores = candidates.scores[getattr(selection, "teacher", STUDENT)][survivors]
        noise = self._generator("selection").gumbel(size=len(survivors))
        parameters = selection.model_dump(exclude={"variant", "teacher"})
        priority = VARIANTS[selection.variant](queries, places_within(queries), scores, noise, needed, **parameters)
        return priority, np.ones(len(survivors), np.int64)

    def _generator(self, purpose: str) -> np.random.Generator:
        """Return the generator for one purpose, the same for the same seed and dataset."""
        return np.random.default_rng([self.settings.seed, *f"{self.collection.dataset}/{purpose}".encode()])

    def _keys(self, queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
        return queries * len(self.collection.doc_ids) + documents
