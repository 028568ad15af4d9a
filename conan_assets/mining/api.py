"""Mining in plain Python, without Dagster and without a profile: frames in, a frame out."""

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from pydantic import BaseModel, ValidationError

from conan_assets.data.tables import NEGATIVES, check_table
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.encoding.store import EmbeddingStore
from conan_assets.mining.collection import Collection, MiningError, collections
from conan_assets.mining.export import examples
from conan_assets.mining.frames import FrameLike, as_frame, tables_of
from conan_assets.mining.guard import Guard
from conan_assets.mining.miner import Miner, require_enough_documents
from conan_assets.mining.settings import STUDENT, MiningSettings
from conan_assets.search.embeddings import VectorRetriever
from conan_assets.search.retriever import OpenRetriever, Retriever
from conan_assets.search.settings import BiEncoderTeacher, BM25Teacher, SearchSettings, TeacherSettings
from conan_assets.search.teachers import open_teacher
from conan_assets.search.vectors import open_vectors

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger("conan_assets")

SHORT_SHOWN = 10
"""Queries with too few negatives that are named in the log."""


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
    queries: FrameLike,
    corpus: FrameLike,
    positives: FrameLike,
    *,
    teacher: str | TeacherSettings | Embedded | OpenRetriever = "bm25",
    rule: str = "top_k_perc_pos",
    settings: MiningSettings | None = None,
    cache: Path | None = None,
    **parameters: float,
) -> pl.DataFrame:
    """Return the hard negatives of ``queries`` as a table of ids, scores, verdicts and reasons.

    Frames are those of polars or pandas, a ``datasets.Dataset`` or an Arrow table. What takes long is told in the log
    ``conan_assets``, or on stderr where logging is not set up; so are queries that are left with too few negatives.

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
        of any teacher, embeddings, or what makes a :class:`~conan_assets.search.retriever.Retriever` of texts.
    rule
        ``top_k``, ``top_k_shifted``, ``top_k_abs``, ``top_k_margin_pos`` or ``top_k_perc_pos``.
    settings
        Everything else; its ``candidates`` and ``veto`` are replaced by ``teacher`` and ``rule``, and
        ``negatives_per_query`` are kept unless it names a deeper ``pool_depth``.
    cache
        Directory where embeddings are kept and a killed search resumes from; None for a temporary one.
    **parameters
        The rule's parameter, such as ``ratio=0.97``.

    Returns
    -------
    pl.DataFrame
        ``query_id, doc_id, rank, student_score`` (the teacher's), ``verdict, reason, order, copies``. Kept rows
        (``verdict == "kept"``) have an ``order`` from 1. Ids that came as integers are integers, all others texts.

    Raises
    ------
    TableError, MiningError
        A column is missing, a text is empty, an id is unknown or occurs twice, a rule has no such parameter, or more
        negatives are asked for than there are documents.
    """
    settings = _settings(settings or MiningSettings(), rule, parameters)
    frames = as_frame(queries, "queries"), as_frame(corpus, "corpus"), as_frame(positives, "positives")
    asked, documents, pairs = tables_of(*frames)
    with telling(), tempfile.TemporaryDirectory() as temporary:
        (collection,) = collections(documents.lazy(), pairs.lazy(), Path(temporary))
        require_enough_documents(settings, collection)
        retriever = _open(teacher, collection, asked, cache or Path(temporary))
        negatives = _negatives(settings, collection, retriever)
        _tell_short(asked, pairs, negatives, settings.negatives_per_query)
    types = {"query_id": frames[0].schema["query_id"], "doc_id": frames[1].schema["doc_id"]}
    return negatives.cast({name: dtype for name, dtype in types.items() if dtype.is_integer()})


def _negatives(settings: MiningSettings, collection: Collection, retriever: Retriever) -> pl.DataFrame:
    guard = Guard(settings.guard, collection.texts)
    return pl.concat(
        candidates.frame(part)
        for part, found in collection.search(retriever, settings.depth)
        for candidates in Miner(settings, part, {STUDENT: retriever}, guard).mine({STUDENT: found})
    )


def training_examples(
    negatives: FrameLike,
    queries: FrameLike,
    corpus: FrameLike,
    positives: FrameLike,
    *,
    layout: str = "triplet",
    count: int | None = None,
) -> "Dataset":
    """Return mined negatives with their texts as another trainer reads them; ``to_json(path)`` writes them as JSONL.

    Parameters
    ----------
    negatives
        What :func:`mine` returned for the other frames.
    layout
        ``triplet`` or ``n_tuple`` (sentence-transformers), ``flag_embedding``, ``tevatron`` or ``nemo`` (inline text).
    count
        Negatives of each query, by default all that were kept; ``n_tuple`` needs it and leaves out queries with fewer.

    Raises
    ------
    ValueError
        There is no such layout, ``n_tuple`` lacks its count, or no query has a negative.
    TableError
        A frame lacks a column or breaks another rule of :func:`mine`.
    """
    from datasets import Dataset

    if layout == "n_tuple" and count is None:
        raise ValueError("the layout n_tuple has a column for each negative: give count, how many")
    _, documents, pairs = tables_of(
        as_frame(queries, "queries"), as_frame(corpus, "corpus"), as_frame(positives, "positives")
    )
    mined = check_table(as_frame(negatives, "negatives"), NEGATIVES, "negatives")
    rows = list(examples(mined, pairs, documents, layout, count or mined.height))
    if not rows:
        raise ValueError(f"no query has {count or 1} negatives: mine with a rule that removes fewer")
    return Dataset.from_list(rows)


@contextlib.contextmanager
def telling() -> Iterator[None]:
    """Show the log of this package on stderr where nobody has set up logging."""
    if logger.hasHandlers():
        yield
        return
    handler, level = logging.StreamHandler(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _settings(base: MiningSettings, rule: str, parameters: Mapping[str, float]) -> MiningSettings:
    """Return the settings with one rule for the one teacher, and a pool as deep as what is asked for."""
    depth = base.pool_depth if "pool_depth" in base.model_fields_set else base.negatives_per_query
    veto = [{"teacher": STUDENT, "rule": rule, **parameters}]
    changes = {"candidates": [STUDENT], "veto": veto, "pool_depth": depth}
    try:
        return MiningSettings.model_validate({**base.model_dump(), **changes})
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc'][2:]) or 'rule'}: {problem['msg']}"
            for problem in error.errors()
        )
        raise MiningError(f"the rule {rule!r} with {dict(parameters)} is not possible: {told}") from None


def _tell_short(queries: pl.DataFrame, pairs: pl.DataFrame, negatives: pl.DataFrame, needed: int) -> None:
    """Log which queries have fewer than ``needed`` negatives, and what removed the others."""
    removed = pl.col("reason").filter(pl.col("verdict") == "removed").mode().sort().first()
    found = negatives.group_by("query_id").agg(
        kept=(pl.col("verdict") == "kept").sum(), found=pl.len(), removed=removed.fill_null("nothing")
    )
    short = queries.join(found, on="query_id", how="left", maintain_order="left").with_columns(
        pl.col("kept", "found").fill_null(0), judged=pl.col("query_id").is_in(pairs["query_id"].implode())
    )
    short = short.filter(pl.col("kept") < needed)
    if short.is_empty():
        return
    logger.warning("%s of %s queries have fewer than %s negatives:", short.height, queries.height, needed)
    for row in short.head(SHORT_SHOWN).iter_rows(named=True):
        if not row["judged"]:
            why = "no positive, so nothing was mined"
        elif not row["found"]:
            why = "no candidate was found"
        else:
            why = f"{row['kept']} of {row['found']} candidates kept, most others removed by {row['removed']}"
        logger.warning("  query %s: %s", row["query_id"], why)


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
    elif not isinstance(teacher, BaseModel):
        raise MiningError(f"teacher is a {type(teacher).__name__}: give a name, settings of one, or embeddings")
    return open_teacher(teacher, texts, EmbeddingStore(cache / "embeddings"), cache / "search")


def _open_embedded(teacher: Embedded, collection: Collection, queries: pl.DataFrame) -> VectorRetriever:
    try:
        left, right = open_vectors(teacher.queries), open_vectors(teacher.documents)
    except ValueError as error:
        raise MiningError(str(error)) from error
    if (left.shape[0], right.shape[0]) != (queries.height, collection.corpus_size):
        raise MiningError(
            f"there are embeddings of {left.shape[0]} queries and {right.shape[0]} documents for "
            f"{queries.height} queries and {collection.corpus_size} documents: give one row for each, in their order"
        )
    if left.shape[1] != right.shape[1]:
        raise MiningError(
            f"the embeddings of queries have {left.shape[1]} components, those of documents {right.shape[1]}: encode "
            "both with one model"
        )
    return VectorRetriever(queries["text"].to_list(), left, right, SearchSettings())
