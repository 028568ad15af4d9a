"""A teacher's settings made a retriever, and what decides its scores."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conan_assets.encoding.models import fingerprint_model
from conan_assets.search.retriever import Retriever
from conan_assets.search.settings import (
    BiEncoderTeacher,
    BM25Teacher,
    CrossEncoderTeacher,
    HybridTeacher,
    PythonTeacher,
    TeacherSettings,
)

if TYPE_CHECKING:
    from conan_assets.encoding.store import EmbeddingStore


class TeacherError(ValueError):
    """A teacher cannot be opened; the message says why and what to do."""


def open_teacher(
    settings: TeacherSettings,
    documents: Sequence[str],
    store: "EmbeddingStore",
    checkpoints: Path | None = None,
    retrievable: int | None = None,
) -> Retriever:
    """Return the retriever of a teacher over the texts of ``documents``.

    Parameters
    ----------
    store
        Where embeddings, and the scores of cross-encoders, are kept.
    checkpoints
        Directory that a killed search resumes from; None for none.
    retrievable
        How many documents, from the first, may be found; the others are only scored. None for all.

    Raises
    ------
    TeacherError
        The class of a ``python`` teacher cannot be imported or called.
    """
    if isinstance(settings, BM25Teacher):
        from conan_assets.search.bm25 import BM25Retriever

        return BM25Retriever(documents, retrievable)
    if isinstance(settings, PythonTeacher):
        return _open_class(settings, documents, retrievable)
    if isinstance(settings, HybridTeacher):
        from conan_assets.search.bm25 import BM25Retriever
        from conan_assets.search.hybrid import HybridRetriever

        part = BiEncoderTeacher(encoder=settings.encoder, search=settings.search)
        dense = open_teacher(part, documents, store, checkpoints, retrievable)
        return HybridRetriever(dense, BM25Retriever(documents, retrievable), settings.bm25_weight)
    if isinstance(settings, BiEncoderTeacher):
        from conan_assets.encoding.encoder import Encoder
        from conan_assets.search.embeddings import BiEncoderRetriever

        encoder = Encoder(settings.encoder)
        return BiEncoderRetriever(encoder, store, documents, settings.search, checkpoints, retrievable)
    from conan_assets.search.cross_encoder import CrossEncoderRetriever

    first = BM25Teacher() if settings.first_stage is None else BiEncoderTeacher(encoder=settings.first_stage)
    first_stage = open_teacher(first, documents, store, checkpoints, retrievable)
    return CrossEncoderRetriever(settings, documents, first_stage, store)


def needs_gpu(settings: TeacherSettings) -> bool:
    """Return whether a teacher computes with a model, on the GPU where there is one; a class of one's own may."""
    return not isinstance(settings, BM25Teacher)


def teacher_recipe(settings: TeacherSettings) -> dict[str, Any]:
    """Return what decides a teacher's scores beside versions of code: its settings and the weights of its models."""
    encoder = settings.encoder if isinstance(settings, BiEncoderTeacher | HybridTeacher) else None
    models = [] if encoder is None else [(encoder.model, encoder.revision)]
    if isinstance(settings, CrossEncoderTeacher):
        first = settings.first_stage
        models = [(settings.model, settings.revision), *([(first.model, first.revision)] if first else [])]
    return {"teacher": settings, "weights": [fingerprint_model(*model) for model in models]}


def _open_class(settings: PythonTeacher, documents: Sequence[str], retrievable: int | None) -> Retriever:
    module, name = settings.retriever.split(":")
    try:
        retriever = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise TeacherError(
            f"the teacher's retriever {settings.retriever!r} cannot be imported: {error}; its module must be installed "
            "or lie in a folder of $PYTHONPATH"
        ) from error
    try:
        opened: Retriever = retriever(documents, retrievable=retrievable, **settings.options)
    except TypeError as error:
        raise TeacherError(
            f"the teacher's retriever {settings.retriever!r} cannot be called with the documents, retrievable and the "
            f"options {', '.join(settings.options) or '(none)'}: {error}"
        ) from error
    return opened
