"""The false-negative guard beyond scores: candidates that say the same as a positive."""

import numpy as np

from conan_assets.mining.candidates import Candidates
from conan_assets.mining.collection import Collection
from conan_assets.mining.duplicates import EQUAL, NEAR, Shingles, compare_with_positives
from conan_assets.mining.groups import Groups
from conan_assets.mining.settings import DuplicateGuard

EQUAL_REASON = "equal_to_positive"
NEAR_REASON = "nearly_equal_to_positive"


class Guard:
    """Compares candidates with the positives of their query by their texts.

    Parameters
    ----------
    documents
        Positions of all documents that will be looked at, apart from the positives; int64 of any shape.
    """

    def __init__(self, settings: DuplicateGuard, collection: Collection, documents: np.ndarray) -> None:
        self._settings = settings
        self._positives = collection.positives
        seen = np.zeros(len(collection.doc_ids), bool)
        seen[documents] = True
        seen[self._positives.members] = True
        self._row = np.cumsum(seen) - 1
        self._shingles = Shingles.of(collection.texts.gather(np.flatnonzero(seen)))

    def check(self, candidates: Candidates) -> None:
        """Remove candidates equal to a positive and, unless they are exempt, those nearly equal to one."""
        relation = compare_with_positives(
            self._shingles,
            candidates.queries,
            self._row[candidates.documents],
            Groups(self._positives.offsets, self._row[self._positives.members]),
            self._settings.containment,
            self._settings.min_length_ratio,
        )
        candidates.verdicts.remove(relation == EQUAL, EQUAL_REASON)
        candidates.verdicts.remove((relation == NEAR) & ~candidates.exempt, NEAR_REASON)
