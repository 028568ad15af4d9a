"""BM25 as mteb sees it: the baseline that goes through the same tasks and metrics as a checkpoint."""

from collections.abc import Sequence

from mteb.models import ModelMeta

from conan_assets.artifacts import fingerprint
from conan_assets.evaluation.search_model import Hits, SearchModel
from conan_assets.lexical import BM25, K1, B


class BM25Model(SearchModel):
    """BM25 behind mteb's search protocol; it can run retrieval and reranking tasks only."""

    def __init__(self) -> None:
        super().__init__()
        self.fingerprint = fingerprint("bm25", K1, B)
        self.mteb_model_meta = ModelMeta.create_empty(
            {"name": "conan-assets/bm25", "revision": self.fingerprint, "model_type": ["sparse"]}
        )

    def _index_texts(self, documents: list[str]) -> None:
        self._index = BM25(documents)

    def _search(self, queries: Sequence[str], k: int) -> list[Hits]:
        found = (self._index.search(query, k) for query in queries)
        return [
            {self._document_ids[position]: score for position, score in zip(*hits, strict=True)}
            for hits in ((positions.tolist(), scores.tolist()) for positions, scores in found)
        ]

    def _score(self, queries: Sequence[str], candidates: Sequence[Sequence[str]]) -> list[Hits]:
        hits = []
        for query, listed in zip(queries, candidates, strict=True):
            scores = dict(zip(self._document_ids, self._index.scores(query).tolist(), strict=True))
            hits.append({document_id: scores[document_id] for document_id in listed})
        return hits
