"""What mteb evaluates: any retriever behind its search protocol, and an encoder behind its encoder protocol too."""

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
from conan_assets.encoding.settings import ENCODING_VERSION
from conan_assets.encoding.store import Embeddings, EmbeddingStore
from conan_assets.evaluation.mteb_privates import document_texts, loaded_texts, query_texts
from conan_assets.evaluation.report import BM25_MODEL, HYBRID_PER_QUERY, PER_QUERY, baseline_per_query
from conan_assets.evaluation.settings import EvaluationError, VectorKind
from conan_assets.lexical import K1, B
from conan_assets.search.bm25 import BM25Retriever
from conan_assets.search.embeddings import BiEncoderRetriever
from conan_assets.search.groups import Groups
from conan_assets.search.hybrid import HybridRetriever
from conan_assets.search.retriever import Effort, OpenRetriever, total_effort
from conan_assets.search.settings import BM25_WEIGHT, SEARCH_VERSION, BM25Teacher, TeacherSettings
from conan_assets.search.teachers import open_teacher, teacher_recipe
from conan_assets.search.vectors import blocks_of

Hits = dict[str, float]
"""Scores of documents by id."""

Run = dict[str, Hits]
"""What was found, by query id."""

RunKey = tuple[str, str, str]
"""Name of the mteb task, subset, split."""

NOTHING_FOUND = {"": 0.0}
"""A query without any hit must still count as 0: mteb averages over the queries that have results."""

ROWS_AT_A_TIME = 16_384

WAY_OUT = "correct the ids in the task's data, or leave the task out of the suite's tasks"


class SearchModel:
    """A retriever behind mteb's search protocol; it can run retrieval and reranking tasks only.

    mteb keeps results by a model's name and revision, so both carry fingerprints here.

    Parameters
    ----------
    open_retriever
        Opens the retriever over the texts of a corpus.
    label
        What reports call the model.
    name
        What mteb calls it.
    fingerprint
        16 hex digits that change with whatever changes the model's scores.
    per_query
        Name of the file of its scores per query, beside a report.

    Attributes
    ----------
    runs
        What was found in each retrieval or reranking task since the attribute was last cleared.
    """

    def __init__(
        self, open_retriever: OpenRetriever, label: str, name: str, fingerprint: str, per_query: str, **meta: object
    ) -> None:
        self.label = label
        self.fingerprint = fingerprint
        self.per_query = per_query
        self.mteb_model_meta = ModelMeta.create_empty({"name": f"conan-assets/{name}", "revision": fingerprint, **meta})
        self.runs: dict[RunKey, Run] = {}
        self._open = open_retriever
        self._efforts: list[Effort] = []

    @property
    def effort(self) -> Effort:
        """What had to be encoded so far."""
        return total_effort(self._efforts)

    def index(self, corpus: Dataset, **_: object) -> None:
        """Take the corpus that is searched next."""
        self._document_ids: Sequence[str] = list(corpus["id"])
        self._retriever = self._open(document_texts(corpus))
        self._efforts.append(self._retriever.effort)

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

    def _search(self, queries: list[str], k: int) -> list[Hits]:
        """Return the ``k`` best documents of every query text."""
        found = self._retriever.search(queries, k, Groups.empty(len(queries)))
        return [
            {self._document_ids[position]: score for position, score in zip(*hits, strict=True) if position >= 0}
            for hits in zip(found.positions.tolist(), found.scores.tolist(), strict=True)
        ]

    def _score(self, queries: list[str], candidates: Sequence[Sequence[str]]) -> list[Hits]:
        """Return the scores of each query's own candidates."""
        position = {document_id: row for row, document_id in enumerate(self._document_ids)}
        rows = np.repeat(np.arange(len(queries)), [len(listed) for listed in candidates])
        documents = np.array([position[document_id] for listed in candidates for document_id in listed], np.int64)
        scores = iter(self._retriever.score(queries, rows, documents).tolist())
        return [{document_id: next(scores) for document_id in listed} for listed in candidates]


class CutEmbeddings(Embeddings):
    """Embeddings cut to their first ``dim`` components, of length 1 again (Matryoshka, arXiv 2205.13147)."""

    def __init__(self, whole: Embeddings, dim: int) -> None:
        self._whole = whole
        self.encoded, self.cut, self.seconds = whole.encoded, whole.cut, whole.seconds
        self.shape = (len(whole), dim)

    def __len__(self) -> int:
        return len(self._whole)

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Return those rows as float32 of shape (len(indices), dim)."""
        rows = self._whole.rows(indices)[:, : self.shape[1]]
        unit: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return unit


class QuantizedEmbeddings(Embeddings):
    """Embeddings as an index gives them back that keeps a component in a byte or in a bit.

    ``int8`` rounds to 255 steps between a component's least and greatest value, ``binary`` keeps its sign.
    """

    def __init__(self, whole: Embeddings, kind: VectorKind) -> None:
        self._whole, self._kind = whole, kind
        self.encoded, self.cut, self.seconds, self.shape = whole.encoded, whole.cut, whole.seconds, whole.shape
        if kind == "int8":
            ends = [(block.min(axis=0), block.max(axis=0)) for _, block in blocks_of(whole, ROWS_AT_A_TIME)]
            self._low = np.min([low for low, _ in ends], axis=0)
            self._step = np.maximum((np.max([high for _, high in ends], axis=0) - self._low) / 255, 1e-12)

    def __len__(self) -> int:
        return len(self._whole)

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Return those rows as float32 of shape (len(indices), dim)."""
        rows = self._whole.rows(indices)
        if self._kind == "binary":
            signs: np.ndarray = np.where(rows > 0, 1, -1).astype(np.float32) / np.sqrt(self.shape[1], dtype=np.float32)
            return signs
        steps: np.ndarray = np.rint((rows - self._low) / self._step) * self._step + self._low
        return steps.astype(np.float32)


class ChangedStore(EmbeddingStore):
    """A store whose embeddings are read in another form than they are kept in; ``change`` tells which."""

    def __init__(self, store: EmbeddingStore, change: int | VectorKind) -> None:
        super().__init__(store.root, store.dtype.name, store.compute)
        self.change = change


class CutStore(ChangedStore):
    """A store whose embeddings are cut to their first ``change`` components."""

    change: int

    def embed(self, encoder: Encoder, texts: Sequence[str], role: Role) -> Embeddings:
        """Return the cut embeddings of ``texts``; whole ones are encoded where they are not stored yet."""
        return CutEmbeddings(super().embed(encoder, texts, role), self.change)


class QuantizedStore(ChangedStore):
    """A store whose documents come as from an index with small vectors; queries stay whole, as when it rescores."""

    change: VectorKind

    def embed(self, encoder: Encoder, texts: Sequence[str], role: Role) -> Embeddings:
        """Return the embeddings of ``texts``; whole ones are encoded where they are not stored yet."""
        whole = super().embed(encoder, texts, role)
        return QuantizedEmbeddings(whole, self.change) if role == "document" and len(whole) else whole


class EncoderModel(SearchModel, AbsEncoder):
    """An encoder, its embeddings taken from the store that mining reads too.

    Texts of tasks without queries and documents (STS, classification, ...) are encoded as documents.
    """

    mteb_model_meta: ModelMeta

    def __init__(self, encoder: Encoder, store: EmbeddingStore) -> None:
        changes = [store.change] if isinstance(store, ChangedStore) else []
        namespaces = (encoder.namespace("query"), encoder.namespace("document"))
        super().__init__(
            lambda documents: BiEncoderRetriever(encoder, store, documents),
            encoder.settings.model,
            encoder.weights_fingerprint,
            fingerprint(*namespaces, store.dtype.name, SEARCH_VERSION, *changes),
            PER_QUERY,
            similarity_fn_name=ScoringFunction.COSINE,
        )
        self._encoder = encoder
        self._store = store

    def encode(self, inputs: Iterable[Any], *, prompt_type: PromptType | None = None, **_: object) -> np.ndarray:
        """Return the embeddings of all texts of a data loader, float32 of shape (texts, dim)."""
        role: Role = "query" if prompt_type == PromptType.query else "document"
        embeddings = self._store.embed(self._encoder, loaded_texts(inputs), role)
        self._efforts.append(Effort(embeddings.encoded, embeddings.cut, embeddings.seconds))
        return embeddings.block(0, len(embeddings))


def baseline_model(name: str, settings: TeacherSettings, store: EmbeddingStore) -> SearchModel:
    """Return a teacher as a baseline: it goes through the same retrieval tasks and metrics as a checkpoint."""
    label = BM25_MODEL if isinstance(settings, BM25Teacher) else name
    version = fingerprint(teacher_recipe(settings), store.dtype.name, ENCODING_VERSION, SEARCH_VERSION)
    file = baseline_per_query(name)
    return SearchModel(lambda documents: open_teacher(settings, documents, store), label, name, version, file)


def hybrid_model(encoder: Encoder, store: EmbeddingStore) -> SearchModel:
    """Return BM25 and an encoder in one score: what the encoder gives where words are searched beside it."""

    def open_hybrid(documents: Sequence[str]) -> HybridRetriever:
        return HybridRetriever(BiEncoderRetriever(encoder, store, documents), BM25Retriever(documents), BM25_WEIGHT)

    namespaces = (encoder.namespace("query"), encoder.namespace("document"))
    version = fingerprint(*namespaces, store.dtype.name, K1, B, BM25_WEIGHT, SEARCH_VERSION)
    label, name = f"{BM25_MODEL} + {encoder.settings.model}", f"bm25-and-{encoder.weights_fingerprint}"
    return SearchModel(open_hybrid, label, name, version, HYBRID_PER_QUERY)
