"""Mining in plain Python, without Dagster and without a profile: frames in, a frame out."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from conan_assets.data.tables import CORPUS, check_table
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.encoding.store import EmbeddingStore
from conan_assets.mining.collection import Collection, MiningError, collections
from conan_assets.mining.miner import Miner
from conan_assets.mining.settings import STUDENT, MiningSettings
from conan_assets.search.embeddings import VectorRetriever
from conan_assets.search.retriever import OpenRetriever, Retriever
from conan_assets.search.settings import BiEncoderTeacher, BM25Teacher, SearchSettings, TeacherSettings
from conan_assets.search.teachers import open_teacher
from conan_assets.search.vectors import open_vectors

DATASET = "corpus"


@dataclass(frozen=True)
class Embedded:
    """Embeddings that are there already, as a teacher: arrays or paths of ``.npy`` files.

    Attributes
    ----------
    queries, documents
        float32 or float16 of shape (queries, dim) and (documents, dim), rows in the order of the frames.
    """

    queries: np.ndarray | Path | str
    documents: np.ndarray | Path | str


def mine(
    queries: pl.DataFrame,
    corpus: pl.DataFrame,
    positives: pl.DataFrame,
    *,
    teacher: str | TeacherSettings | Embedded | OpenRetriever = "bm25",
    rule: str = "top_k_perc_pos",
    settings: MiningSettings | None = None,
    cache: Path | None = None,
    **parameters: float,
) -> pl.DataFrame:
    """Return the hard negatives of ``queries`` as a table of ids, scores, verdicts and reasons.

    Parameters
    ----------
    queries
        Columns ``query_id`` and ``text``.
    corpus
        Columns ``doc_id`` and ``text``, and ``title`` if there is one.
    positives
        Columns ``query_id`` and ``doc_id``: every judged-relevant document.
    teacher
        Finds the candidates and vetoes false negatives: "bm25", a sentence-transformers folder or hub name, settings
        of any teacher, embeddings that are there already, or a :class:`~conan_assets.search.retriever.Retriever` of
        your own: its class, or what else makes one of the documents' texts.
    rule
        ``top_k``, ``top_k_shifted``, ``top_k_abs``, ``top_k_margin_pos`` or ``top_k_perc_pos``.
    settings
        Everything else; its ``candidates`` and ``veto`` are replaced by ``teacher`` and ``rule``.
    cache
        Directory where embeddings are kept and a killed search resumes from; None for a temporary one.
    **parameters
        The rule's parameter, such as ``ratio=0.97``.

    Returns
    -------
    pl.DataFrame
        ``query_id, doc_id, rank, student_score, verdict, reason, order, copies``, the teacher's score being
        ``student_score``. Kept rows (``verdict == "kept"``) have an ``order`` from 1.

    Raises
    ------
    TableError, MiningError
        A column is missing, an id is unknown, or more negatives are asked for than there are documents.
    """
    base = settings or MiningSettings()
    veto = [{"teacher": STUDENT, "rule": rule, **parameters}]
    settings = MiningSettings.model_validate({**base.model_dump(), "candidates": [STUDENT], "veto": veto})
    titled = corpus if "title" in corpus.columns else corpus.with_columns(title=pl.lit(None, pl.String))
    documents = check_table(titled.with_columns(dataset=pl.lit(DATASET)), CORPUS, "corpus")
    (collection,) = collections(documents, _pairs(queries, positives))
    with tempfile.TemporaryDirectory() as temporary:
        retriever = _open(teacher, collection, queries, cache or Path(temporary))
        miner = Miner(settings, collection, {STUDENT: retriever})
        frames = [part.frame(collection) for part in miner.mine(miner.search([STUDENT]))]
    return pl.concat(frames)


def _pairs(queries: pl.DataFrame, positives: pl.DataFrame) -> pl.DataFrame:
    """Return the positives as retrieval pairs, in the order of the queries."""
    unknown = positives.join(queries, on="query_id", how="anti")
    if unknown.height:
        raise MiningError(f"positives: the query {unknown['query_id'][0]!r} is not among the queries")
    judged = queries.select("query_id", query="text").join(
        positives.select("query_id", "doc_id"), on="query_id", maintain_order="left"
    )
    return judged.with_columns(
        pair_id=pl.concat_str("query_id", pl.lit("+"), "doc_id"),
        task=pl.lit("retrieval"),
        dataset=pl.lit(DATASET),
        text=pl.lit(None, pl.String),
        score=pl.lit(1.0),
    )


def _open(
    teacher: str | TeacherSettings | Embedded | OpenRetriever,
    collection: Collection,
    queries: pl.DataFrame,
    cache: Path,
) -> Retriever:
    if isinstance(teacher, Embedded):
        return _open_embedded(teacher, collection, queries)
    texts = collection.texts.to_list()
    if isinstance(teacher, str):
        teacher = BM25Teacher() if teacher == "bm25" else BiEncoderTeacher(encoder=EncoderSettings(teacher))
    elif callable(teacher):
        return teacher(texts)
    return open_teacher(teacher, texts, EmbeddingStore(cache / "embeddings"), cache / "search")


def _open_embedded(teacher: Embedded, collection: Collection, queries: pl.DataFrame) -> VectorRetriever:
    left, right = open_vectors(teacher.queries), open_vectors(teacher.documents)
    if (left.shape[0], right.shape[0]) != (queries.height, collection.corpus_size):
        raise MiningError(
            f"there are embeddings of {left.shape[0]} queries and {right.shape[0]} documents for "
            f"{queries.height} queries and {collection.corpus_size} documents: give one row for each, in their order"
        )
    return VectorRetriever(queries["text"].to_list(), left, right, SearchSettings())
