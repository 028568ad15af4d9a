"""An encoder as mteb sees it, its embeddings taken from the store that mining reads too."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from datasets import Dataset
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import ModelMeta
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ScoringFunction
from mteb.types import PromptType

from conan_assets.artifacts import fingerprint
from conan_assets.encoding.encoder import Encoder, Role
from conan_assets.encoding.store import Embeddings, EmbeddingStore
from conan_assets.evaluation.errors import EvaluationError
from conan_assets.evaluation.search import cosines, top_k
from conan_assets.evaluation.texts import document_texts, loaded_texts, query_texts

Run = dict[str, dict[str, float]]
"""Scores of the documents found, by query id and document id."""

RunKey = tuple[str, str, str]
"""Name of the mteb task, subset, split."""


class StoredModel(AbsEncoder):
    """An encoder over an embedding store: mteb's encoder and search protocols.

    mteb keeps results by a model's name and revision and takes every local folder for the same model, so both carry
    fingerprints here. Texts of tasks without queries and documents (STS, classification, ...) are encoded as documents.

    Attributes
    ----------
    encoded
        How many texts had to be encoded because the store did not have them.
    encoding_seconds
        Seconds that took.
    runs
        What was found in each retrieval task since the attribute was last cleared.
    """

    mteb_model_meta: ModelMeta

    def __init__(self, encoder: Encoder, store: EmbeddingStore) -> None:
        self._encoder = encoder
        self._store = store
        self.encoded = 0
        self.encoding_seconds = 0.0
        self.runs: dict[RunKey, Run] = {}
        self.fingerprint = fingerprint(encoder.namespace("query"), encoder.namespace("document"), store.dtype.name)
        self.mteb_model_meta = ModelMeta.create_empty(
            {
                "name": f"conan-assets/{encoder.weights_fingerprint}",
                "revision": self.fingerprint,
                "similarity_fn_name": ScoringFunction.COSINE,
            }
        )

    def encode(self, inputs: Iterable[Any], *, prompt_type: PromptType | None = None, **_: object) -> np.ndarray:
        """Return the embeddings of all texts of a data loader, float32 of shape (texts, dim)."""
        embeddings = self._embed(loaded_texts(inputs), "query" if prompt_type == PromptType.query else "document")
        return embeddings.block(0, len(embeddings))

    def index(self, corpus: Dataset, **_: object) -> None:
        """Take the embeddings of a corpus from the store."""
        self._document_ids: Sequence[str] = list(corpus["id"])
        self._documents = self._embed(document_texts(corpus), "document")

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
        query_ids = list(queries["id"])
        embeddings = self._embed(query_texts(queries, task_metadata), "query")
        if top_ranked is not None:
            run = self._score(query_ids, embeddings, top_ranked)
        elif task_metadata.type.endswith("Reranking"):
            raise EvaluationError(
                f"{task_metadata.name} is a reranking task but its data lists no candidates (top_ranked); a search "
                "of the whole corpus would give figures that mean nothing: load the task's data again"
            )
        else:
            run = self._search(query_ids, embeddings, top_k)
        self.runs[task_metadata.name, hf_subset, hf_split] = run
        return run

    def _search(self, query_ids: Sequence[str], queries: Embeddings, k: int) -> Run:
        scores, positions = top_k(queries, self._documents, k)
        return {
            query_id: {self._document_ids[position]: score for position, score in zip(row, values, strict=True)}
            for query_id, row, values in zip(query_ids, positions.tolist(), scores.tolist(), strict=True)
        }

    def _score(self, query_ids: Sequence[str], queries: Embeddings, candidates: Mapping[str, Sequence[str]]) -> Run:
        position = {document_id: row for row, document_id in enumerate(self._document_ids)}
        run: Run = {}
        for row, query_id in enumerate(query_ids):
            listed = candidates.get(query_id, ())
            documents = self._documents.rows(np.array([position[document_id] for document_id in listed], np.int64))
            scores = cosines(queries.block(row, row + 1)[0], documents).tolist()
            run[query_id] = dict(zip(listed, scores, strict=True))
        return run

    def _embed(self, texts: Sequence[str], role: Role) -> Embeddings:
        embeddings = self._store.embed(self._encoder, texts, role)
        self.encoded += embeddings.encoded
        self.encoding_seconds += embeddings.seconds if embeddings.encoded else 0.0
        return embeddings
