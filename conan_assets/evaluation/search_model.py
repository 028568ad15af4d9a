"""mteb's search protocol: what BM25 and the encoders share when a task lets them search or rerank."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from datasets import Dataset
from mteb.abstasks.task_metadata import TaskMetadata

from conan_assets.evaluation.mteb_privates import document_texts, query_texts
from conan_assets.evaluation.settings import EvaluationError

Hits = dict[str, float]
"""Scores of documents by id."""

Run = dict[str, Hits]
"""What was found, by query id."""

RunKey = tuple[str, str, str]
"""Name of the mteb task, subset, split."""

NOTHING_FOUND = {"": 0.0}
"""A query without any hit must still count as 0: mteb averages over the queries that have results."""

WAY_OUT = "correct the ids in the task's data, or leave the task out of the suite's tasks"


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

    def index(self, corpus: Dataset, **_: object) -> None:
        """Take the corpus that is searched next."""
        self._document_ids: Sequence[str] = list(corpus["id"])
        self._index_texts(document_texts(corpus))

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
            A reranking task lists no candidates, none for one of its queries, or one that is not in the corpus.
        """
        query_ids = list(queries["id"])
        texts = query_texts(queries, task_metadata)
        if top_ranked is not None:
            hits = self._score(texts, self._candidates(query_ids, top_ranked, task_metadata.name))
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

    def _candidates(
        self, query_ids: Sequence[str], top_ranked: Mapping[str, Sequence[str]], task: str
    ) -> list[Sequence[str]]:
        """Return each query's candidates, all of them documents of the corpus."""
        known = set(self._document_ids)
        for query_id in query_ids:
            if not top_ranked.get(query_id):
                raise EvaluationError(
                    f"{task}: the query {query_id!r} has no candidates to rerank; its data lists candidates "
                    f"(top_ranked) of {len(top_ranked)} queries, such as {next(iter(top_ranked), None)!r}: {WAY_OUT}"
                )
            for document_id in top_ranked[query_id]:
                if document_id not in known:
                    raise EvaluationError(
                        f"{task}: the query {query_id!r} has the candidate {document_id!r}, which is not among the "
                        f"{len(known)} documents of the corpus: {WAY_OUT}"
                    )
        return [top_ranked[query_id] for query_id in query_ids]

    @abstractmethod
    def _index_texts(self, documents: list[str]) -> None:
        """Take the texts of the corpus that is searched next."""

    @abstractmethod
    def _search(self, queries: Sequence[str], k: int) -> list[Hits]:
        """Return the ``k`` best documents of every query text."""

    @abstractmethod
    def _score(self, queries: Sequence[str], candidates: Sequence[Sequence[str]]) -> list[Hits]:
        """Return the scores of each query's own candidates."""
