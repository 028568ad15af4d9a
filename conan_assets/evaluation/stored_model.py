"""An encoder as mteb sees it, its embeddings taken from the store that mining reads too."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from mteb.models import ModelMeta
from mteb.models.abs_encoder import AbsEncoder
from mteb.models.model_meta import ScoringFunction
from mteb.types import PromptType

from conan_assets.artifacts import fingerprint
from conan_assets.encoding.encoder import Encoder, Role
from conan_assets.encoding.store import Embeddings, EmbeddingStore
from conan_assets.evaluation.mteb_privates import loaded_texts
from conan_assets.evaluation.search import cosines, top_k
from conan_assets.evaluation.search_model import Hits, SearchModel


class StoredModel(SearchModel, AbsEncoder):
    """An encoder over an embedding store: mteb's encoder and search protocols.

    mteb keeps results by a model's name and revision and takes every local folder for the same model, so both carry
    fingerprints here. Texts of tasks without queries and documents (STS, classification, ...) are encoded as documents.
    """

    mteb_model_meta: ModelMeta

    def __init__(self, encoder: Encoder, store: EmbeddingStore) -> None:
        super().__init__()
        self._encoder = encoder
        self._store = store
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

    def _index_texts(self, documents: list[str]) -> None:
        self._documents = self._embed(documents, "document")

    def _search(self, queries: Sequence[str], k: int) -> list[Hits]:
        scores, positions = top_k(self._embed(queries, "query"), self._documents, k)
        return [
            {self._document_ids[position]: score for position, score in zip(row, values, strict=True)}
            for row, values in zip(positions.tolist(), scores.tolist(), strict=True)
        ]

    def _score(self, queries: Sequence[str], candidates: Sequence[Sequence[str]]) -> list[Hits]:
        embeddings = self._embed(queries, "query")
        position = {document_id: row for row, document_id in enumerate(self._document_ids)}
        hits = []
        for row, listed in enumerate(candidates):
            documents = self._documents.rows(np.array([position[document_id] for document_id in listed], np.int64))
            scores = cosines(embeddings.block(row, row + 1)[0], documents).tolist()
            hits.append(dict(zip(listed, scores, strict=True)))
        return hits

    def _embed(self, texts: Sequence[str], role: Role) -> Embeddings:
        embeddings = self._store.embed(self._encoder, texts, role)
        self.encoded += embeddings.encoded
        self.encoding_seconds += embeddings.seconds if embeddings.encoded else 0.0
        return embeddings
