"""Ragged lists as two flat arrays: a query with 500 positives costs 500 entries, and no other query pays for it."""

from dataclasses import dataclass

import numpy as np
import polars as pl


@dataclass(frozen=True)
class Groups:
    """For every query, a sorted list of document positions.

    Attributes
    ----------
    offsets
        int64 of shape (queries + 1,); the members of query i are ``members[offsets[i]:offsets[i + 1]]``.
    members
        int64 of shape (members,).
    """

    offsets: np.ndarray
    members: np.ndarray

    @classmethod
    def from_pairs(cls, rows: np.ndarray, members: np.ndarray, size: int) -> "Groups":
        """Group ``members`` by ``rows`` (0 to size - 1), each group sorted and without repetition."""
        pairs = np.unique(np.stack([rows, members], axis=1).astype(np.int64).reshape(-1, 2), axis=0)
        offsets = np.searchsorted(pairs[:, 0], np.arange(size + 1))
        return cls(offsets.astype(np.int64), np.ascontiguousarray(pairs[:, 1]))

    @classmethod
    def empty(cls, size: int) -> "Groups":
        """Return ``size`` groups without members."""
        return cls(np.zeros(size + 1, np.int64), np.empty(0, np.int64))

    @classmethod
    def from_lists(cls, lists: pl.Series) -> "Groups":
        """Return the groups of a column of sorted lists."""
        offsets = np.append(0, np.cumsum(lists.list.len().to_numpy(), dtype=np.int64))
        return cls(offsets, lists.explode(empty_as_null=False).cast(pl.Int64).to_numpy())

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.members[self.offsets[index] : self.offsets[index + 1]]

    @property
    def counts(self) -> np.ndarray:
        """Number of members of every group, int64 of shape (groups,)."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> np.ndarray:
        """The group of every member, int64 of shape (members,)."""
        return np.repeat(np.arange(len(self)), self.counts)

    def block(self, start: int, stop: int) -> "Groups":
        """Return groups ``start`` to ``stop``, renumbered from 0."""
        offsets = self.offsets[start : stop + 1]
        return Groups(offsets - offsets[0], self.members[offsets[0] : offsets[-1]])

    def select(self, groups: np.ndarray) -> "Groups":
        """Return the groups at those positions, renumbered from 0."""
        counts = self.counts[groups]
        offsets = np.append(0, np.cumsum(counts))
        first = np.repeat(self.offsets[groups] - offsets[:-1], counts)
        return Groups(offsets, self.members[first + np.arange(offsets[-1])])

    def by_member(self) -> tuple[np.ndarray, np.ndarray]:
        """Return all members in ascending order and the group of each, int64 of shape (members,)."""
        order = np.argsort(self.members, kind="stable")
        return self.members[order], self.rows[order]
