"""BM25 as mteb sees it: the baseline that goes through the same tasks and metrics as a checkpoint."""

from collections.abc import Mapping, Sequence

from datasets import Dataset
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import ModelMeta

from conan_assets.artifacts import fingerprint
from conan_assets.evaluation.stored_model import Run, RunKey
from conan_assets.evaluation.texts import document_texts, query_texts
from conan_assets.lexical import BM25, K1, B

NOTHING_FOUND = {"": 0.0}
"""A query without any hit must still count as 0: mteb averages over the queries that have results."""


class BM25Model:
    """BM25 behind mteb's search protocol; it can run retrieval and reranking tasks only.

    Attributes
    ----------
    runs
        What was found in each task since the attribute was last cleared.
    """

    def __init__(self) -> None:
        self.runs: dict[RunKey, Run] = {}
        self.fingerprint = fingerprint("bm25", K1, B)
        self.mteb_model_meta = ModelMeta.create_empty(
            {"name": "conan-assets/bm25", "revision": self.fingerprint, "model_type": ["sparse"]}
        )

    def index(self, corpus: Dataset, **_: object) -> None:
        """Build the index of a corpus."""
        self._document_ids: Sequence[str] = list(corpus["id"])
        self._index = BM25(document_texts(corpus))

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
        """Return the ``top_k`` documents of every query, or the scores of those named in ``top_ranked``."""
        texts = query_texts(queries, task_metadata)
        run = {
            query_id: self._search(text, top_k)
            if top_ranked is None
            else self._score(text, top_ranked.get(query_id, ()))
            for query_id, text in zip(queries["id"], texts, strict=True)
        }
        self.runs[task_metadata.name, hf_subset, hf_split] = run
        return run

    def _search(self, query: str, k: int) -> dict[str, float]:
        positions, scores = self._index.search(query, k)
        found = zip(positions.tolist(), scores.tolist(), strict=True)
        return {self._document_ids[position]: score for position, score in found} or dict(NOTHING_FOUND)

    def _score(self, query: str, candidates: Sequence[str]) -> dict[str, float]:
        scores = dict(zip(self._document_ids, self._index.scores(query).tolist(), strict=True))
        return {document_id: scores[document_id] for document_id in candidates} or dict(NOTHING_FOUND)
