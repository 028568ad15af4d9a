"""A sample of a retrieval task that vectors from anywhere can be scored on."""

from dataclasses import dataclass

import numpy as np
import polars as pl
import pytrec_eval

from conan_assets.evaluation.settings import EvaluationError, ServerSettings

DEPTH = 10


@dataclass(frozen=True)
class SampledTask:
    """Queries with the documents that are ranked for them: all that are relevant to one, and a sample.

    ``relevant`` has, by query, the grade of each document by its position in ``documents``.
    """

    queries: list[str]
    documents: list[str]
    relevant: list[dict[int, int]]

    def ndcg(self, queries: np.ndarray, documents: np.ndarray) -> float:
        """Return the mean nDCG@10 of the documents ranked by the dot product with each query's vector."""
        scores = np.nan_to_num(queries @ documents.T)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]
        qrels = {str(q): {str(d): grade for d, grade in found.items()} for q, found in enumerate(self.relevant)}
        run = {str(q): {str(d): float(scores[q, d]) for d in row.tolist()} for q, row in enumerate(best)}
        measured = pytrec_eval.RelevanceEvaluator(qrels, {f"ndcg_cut.{DEPTH}"}).evaluate(run)
        return float(np.mean([each[f"ndcg_cut_{DEPTH}"] for each in measured.values()]))


def sample_task(pairs: pl.DataFrame, documents: pl.DataFrame, limits: ServerSettings) -> SampledTask:
    """Return the queries of judged ``pairs`` with their documents, within the limits; the same each time.

    Parameters
    ----------
    pairs
        Columns ``query_id``, ``query``, ``doc_id``, ``score`` (above 0: relevant).
    documents
        Columns ``doc_id`` and ``text``, of the whole corpus.

    Raises
    ------
    EvaluationError
        No query has a relevant document in the corpus.
    """
    relevant = pairs.filter(pl.col("score") > 0).join(documents.select("doc_id"), on="doc_id", how="semi")
    if relevant.is_empty():
        raise EvaluationError("served_model: no query of the dev metric's split has a relevant document in the corpus")
    ids = relevant["query_id"].unique().sort()
    ids = ids.sample(min(limits.queries, len(ids)), seed=0).sort()
    relevant = relevant.filter(pl.col("query_id").is_in(ids.implode()))
    chosen = documents.join(relevant.select("doc_id").unique(), on="doc_id", how="semi")
    rest = documents.join(chosen, on="doc_id", how="anti")
    added = rest.sample(min(max(limits.documents - chosen.height, 0), rest.height), seed=0)
    sampled = pl.concat([chosen, added]).sort("doc_id")
    place = {doc_id: row for row, doc_id in enumerate(sampled["doc_id"])}
    grouped = relevant.sort("query_id", "doc_id").group_by("query_id", maintain_order=True)
    queries = grouped.agg(pl.col("query").first(), "doc_id", "score")
    grades = [
        {place[doc_id]: max(1, round(score)) for doc_id, score in zip(row["doc_id"], row["score"], strict=True)}
        for row in queries.iter_rows(named=True)
    ]
    return SampledTask(queries["query"].to_list(), sampled["text"].to_list(), grades)
