"""mteb tasks over the programme's own tables."""

import hashlib
from collections.abc import Sequence
from typing import Any

import polars as pl
from datasets import Dataset
from mteb.abstasks import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata

from conan_assets.artifacts import fingerprint
from conan_assets.evaluation.mteb_privates import document_texts, registered_task
from conan_assets.evaluation.settings import EvaluationError, LocalSuite
from conan_assets.lexical import BM25

JUDGED = (pl.col("task") == "retrieval") & pl.col("doc_id").is_not_null()


class LocalRetrieval(AbsTaskRetrieval):
    """A retrieval task whose data is given instead of loaded."""

    data: dict[str, Any]

    def load_data(self, *_: object, **__: object) -> None:
        """Take the data that the task was made of."""
        self.dataset = {"default": dict(self.data)}
        self.data_loaded = True


def judged_pairs(suite_name: str, suite: LocalSuite, pairs: pl.DataFrame) -> pl.DataFrame:
    """Return the judged query-document pairs of a suite's dataset and splits.

    Raises
    ------
    EvaluationError
        A split has no query with a relevant document.
    """
    judged = pairs.filter(JUDGED, pl.col("dataset") == suite.dataset)
    relevant = judged.filter(pl.col("score") > 0)
    for split in suite.splits:
        if not (relevant["split"] == split).any():
            having = ", ".join(sorted(relevant["split"].unique())) or "none"
            raise EvaluationError(
                f"suite {suite_name!r}: the source {suite.dataset!r} has no query with a relevant document in "
                f"split {split!r}; splits that have one: {having}; correct the suite's splits or add judgements"
            )
    return judged.filter(pl.col("split").is_in(suite.splits))


def written_by(suite: LocalSuite, pairs: pl.DataFrame) -> str | None:
    """Return what wrote the questions of a suite's splits, None where people asked them: the column ``written_by``."""
    if "written_by" not in pairs.columns:
        return None
    asked = pairs.filter(JUDGED, pl.col("dataset") == suite.dataset, pl.col("split").is_in(suite.splits))
    return ", ".join(asked["written_by"].drop_nulls().unique().sort()) or None


def local_task(suite_name: str, suite: LocalSuite, corpus: pl.DataFrame, pairs: pl.DataFrame) -> AbsTaskRetrieval:
    """Return the mteb task of a local suite; the revision of its data is a hash of all texts and judgements."""
    documents = corpus.filter(pl.col("dataset") == suite.dataset).select("doc_id", "title", "text").sort("doc_id")
    judged = judged_pairs(suite_name, suite, pairs).select("split", "query_id", "query", "doc_id", "score")
    judged = judged.sort("split", "query_id", "doc_id")
    reranking = suite.task == "reranking"
    metadata = TaskMetadata(
        name=f"local-{suite.dataset}-{suite.task}",
        dataset={"path": suite.dataset, "revision": fingerprint(content_hash([documents, judged]), suite)},
        description=f"{suite.task} on the source {suite.dataset}",
        type="Reranking" if reranking else "Retrieval",
        eval_splits=list(suite.splits),
        eval_langs=["eng-Latn"],
        main_score="map_at_1000" if reranking else "ndcg_at_10",
        category="t2t",
    )
    shared = _documents_table(documents)
    data = {split: _split_data(shared, judged.filter(split=split)) for split in suite.splits}
    if reranking:
        index = BM25(document_texts(shared))
        for split_data in data.values():
            split_data["top_ranked"] = _candidates(index, split_data, suite.candidates)
    return registered_task(LocalRetrieval, metadata, data=data, ignore_identical_ids=_queries_are_documents(judged))


def _queries_are_documents(judged: pl.DataFrame) -> bool:
    """Return whether a document with a query's id is that query itself and no hit, as in ArguAna.

    Where one is judged relevant to the query of its id, the ids merely count queries and documents alike.
    """
    return judged.filter(pl.col("query_id") == pl.col("doc_id"), pl.col("score") > 0).is_empty()


def content_hash(frames: Sequence[pl.DataFrame]) -> str:
    """Return 16 hex digits that change with any value, row or column of ``frames``."""
    digest = hashlib.sha256()
    for frame in frames:
        for column in frame.iter_columns():
            digest.update(f"{column.name}\0{len(column)}\0".encode())
            values = column.cast(pl.String)
            digest.update(values.fill_null("\0").str.len_bytes().to_numpy().tobytes())
            digest.update("".join(values.fill_null("\0").to_list()).encode())
    return digest.hexdigest()[:16]


def _candidates(index: BM25, data: dict[str, Any], count: int) -> dict[str, list[str]]:
    """Return the documents to rerank by query id: BM25's best and, so that they can be found, all relevant ones."""
    document_ids = list(data["corpus"]["id"])
    candidates: dict[str, list[str]] = {}
    for query_id, text in zip(data["queries"]["id"], data["queries"]["text"], strict=True):
        found = [document_ids[position] for position in index.search(text, count)[0].tolist()]
        relevant = [document_id for document_id, score in data["relevant_docs"][query_id].items() if score > 0]
        candidates[query_id] = sorted({*found, *relevant})
    return candidates


def _documents_table(documents: pl.DataFrame) -> Dataset:
    columns = documents.with_columns(pl.col("title").fill_null("")).rename({"doc_id": "id"})
    return Dataset.from_dict(columns.to_dict(as_series=False))


def whole_grades(scores: Sequence[float]) -> list[int]:
    """Return scores as the whole numbers that the metrics take, in their ratios: nDCG asks for no more.

    Fractions are multiplied by the least power of ten, at most 1,000, that makes them whole; what is above 0 stays so.
    """
    factor = next((ten for ten in (1, 10, 100) if all(abs(s * ten - round(s * ten)) < 1e-4 for s in scores)), 1_000)
    return [max(round(score * factor), 1) if score > 0 else 0 for score in scores]


def _split_data(documents: Dataset, judged: pl.DataFrame) -> dict[str, Any]:
    """Return mteb's form of one split, without the queries that have no relevant document."""
    judged = judged.filter((pl.col("score") > 0).any().over("query_id"))
    queries = judged.unique("query_id", keep="first", maintain_order=True).select(id="query_id", text="query")
    qrels: dict[str, dict[str, int]] = {}
    ids = judged.select("query_id", "doc_id").iter_rows()
    for (query_id, document_id), grade in zip(ids, whole_grades(judged["score"].to_list()), strict=True):
        qrels.setdefault(query_id, {})[document_id] = grade
    return {
        "corpus": documents,
        "queries": Dataset.from_dict(queries.to_dict(as_series=False)),
        "relevant_docs": qrels,
        "top_ranked": None,
    }
