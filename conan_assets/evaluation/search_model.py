"""mteb's search protocol: what BM25 and the encoders share when a task lets them search or rerank."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from datasets import Dataset
from mteb.abstasks.task_metadata import TaskMetadata

from conan_assets.evaluation.errors import EvaluationError
from conan_assets.evaluation.texts import query_texts

Hits = dict[str, float]
"""Scores of documents by id."""

Run = dict[str, Hits]
"""What was found, by query id."""

RunKey = tuple[str, str, str]
"""Name of the mteb task, subset, split."""

NOTHING_FOUND = {"": 0.0}
"""A query without any hit must still count as 0: mteb averages over the queries that have results."""


class SearchModel(ABC):
    """A model behind mteb's search protocol.

    Attributes
    ----------
    runs
        What was found in each retrieval or reranking task since the attribute was last cleared.
    encoded, encoding_seconds
        How many texts had to be encoded so far, and the seconds that took.
    fingerprint
        16 hex digits that change with whatever changes the model's scores.
    """

    fingerprint: str

    def __init__(self) -> None:
        self.runs: dict[RunKey, Run] = {}
        self.encoded = 0
        self.encoding_seconds = 0.0

    @abstractmethod
    def index(self, corpus: Dataset, **_: object) -> None:
        """Take the corpus that is searched next."""

    def search(
        self,
        queries: Dataset,
        *,
        task_metadata: TaskMetadata,
        hf_split: str,
        hf_subset: str,
        top_k: int,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        **_: object,
    ) -> Run:
        """Return the ``top_k`` documents of every query, or the scores of those named in ``top_ranked``.

        Raises
        ------
        EvaluationError
            A reranking task lists no candidates.
        """
        query_ids = list(queries["id"])
        texts = query_texts(queries, task_metadata)
        if top_ranked is not None:
            hits = self._score(texts, [top_ranked.get(query_id, ()) for query_id in query_ids])
        elif task_metadata.type.endswith("Reranking"):
            raise EvaluationError(
                f"{task_metadata.name} is a reranking task but its data lists no candidates (top_ranked); a search "
                "of the whole corpus would give figures that mean nothing: load the task's data again"
            )
        else:
            hits = self._search(texts, top_k)
        run = {query_id: found or dict(NOTHING_FOUND) for query_id, found in zip(query_ids, hits, strict=True)}
        self.runs[task_metadata.name, hf_subset, hf_split] = run
        return run

    @abstractmethod
    def _search(self, queries: Sequence[str], k: int) -> list[Hits]:
        """Return the ``k`` best documents of every query text."""

    @abstractmethod
    def _score(self, queries: Sequence[str], candidates: Sequence[Sequence[str]]) -> list[Hits]:
        """Return the scores of each query's own candidates."""
