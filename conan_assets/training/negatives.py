"""Which candidates are a sample's hard negatives now."""

import numpy as np

from conan_assets.training.data import Lists

NONE = -1


class NegativeTable:
    """The current hard negatives of every sample, as positions in its ranked pool of candidates.

    Attributes
    ----------
    current
        Positions, int32 of shape (samples, negatives_per_query); -1 where the pool is too short.
    """

    def __init__(self, candidates: Lists, negatives_per_query: int) -> None:
        positions = np.arange(negatives_per_query, dtype=np.int32)[None, :]
        self.current = np.where(positions < candidates.lengths[:, None], positions, np.int32(NONE))

    @property
    def short_of(self) -> int:
        """Negatives that samples lack because their pools are too short."""
        return int((self.current == NONE).sum())
