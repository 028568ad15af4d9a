"""Retrieval samples over numbered texts, and which of their texts are equal."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa

from conan_assets.training.columns import Lists, StringColumn


@dataclass(frozen=True)
class RetrievalSamples:
    """Samples: a query, its positives, and its ranked pool of hard negatives.

    Attributes
    ----------
    texts, text_ids
        The documents and their ids.
    sample_ids, queries
        One for each sample.
    positives, candidates
        Numbers of documents for each sample, candidates the best first.
    positive_scores, candidate_scores
        A teacher's scores of those documents, or None.
    """

    texts: StringColumn
    text_ids: StringColumn
    sample_ids: StringColumn
    queries: StringColumn
    positives: Lists
    candidates: Lists
    positive_scores: Lists | None = None
    candidate_scores: Lists | None = None

    def __len__(self) -> int:
        return len(self.sample_ids)

    @property
    def text_class(self) -> np.ndarray:
        """A number for each document, equal for equal texts whatever their ids."""
        return self._classes[: len(self.texts)]

    @property
    def query_class(self) -> np.ndarray:
        """A number for each sample, equal for equal queries, and equal to that of a document of the same text."""
        return self._classes[len(self.texts) :]

    @cached_property
    def _classes(self) -> np.ndarray:
        texts = pa.concat_arrays([self.texts.array, self.queries.array])
        numbers: np.ndarray = texts.dictionary_encode().indices.to_numpy()
        return numbers


def join_samples(parts: Sequence[RetrievalSamples]) -> RetrievalSamples:
    """Return the samples of all ``parts``; a part without teacher scores gets NaN where another has some."""
    if len(parts) == 1:
        return parts[0]
    offsets = np.cumsum([0, *(len(part.texts) for part in parts[:-1])]).astype(np.int32)
    shifted = list(zip(parts, offsets, strict=True))
    taught = any(part.positive_scores is not None for part in parts)
    return RetrievalSamples(
        texts=_join_strings([part.texts for part in parts]),
        text_ids=_join_strings([part.text_ids for part in parts]),
        sample_ids=_join_strings([part.sample_ids for part in parts]),
        queries=_join_strings([part.queries for part in parts]),
        positives=_join_lists([replace(part.positives, values=part.positives.values + by) for part, by in shifted]),
        candidates=_join_lists([replace(part.candidates, values=part.candidates.values + by) for part, by in shifted]),
        positive_scores=_join_lists([part.positive_scores or _unscored(part.positives) for part in parts])
        if taught
        else None,
        candidate_scores=_join_lists([part.candidate_scores or _unscored(part.candidates) for part in parts])
        if taught
        else None,
    )


def _join_strings(columns: Sequence[StringColumn]) -> StringColumn:
    return StringColumn(pa.concat_arrays([column.array for column in columns]))


def _join_lists(lists: Sequence[Lists]) -> Lists:
    shifts = np.cumsum([0, *(len(part.values) for part in lists[:-1])])
    return Lists(
        np.concatenate([part.starts + shift for part, shift in zip(lists, shifts, strict=True)]),
        np.concatenate([part.lengths for part in lists]),
        np.concatenate([part.values for part in lists]),
    )


def _unscored(lists: Lists) -> Lists:
    return replace(lists, values=np.full(len(lists.values), np.nan, np.float32))
