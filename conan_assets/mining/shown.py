"""Mined negatives as a reader wants them: the texts of a query's documents, who found them, and what became of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from conan_assets.artifacts import Artifact
from conan_assets.cleaning import TABLE
from conan_assets.data.tables import DOCUMENT_TEXT
from conan_assets.data.training_files import TEXT_ID

SCORE = "_score"
POSITIVE = "positive"
POSITIVES = "positives.parquet"
"""The scores of a round's positives, beside its table: query_id, doc_id, and the score by every scorer."""

GONE = "(its text is gone: the sources have changed since)"


class Shown(NamedTuple):
    """A document of a query.

    Attributes
    ----------
    what
        "positive", "kept 1" in the order that training takes them, or "removed".
    why
        What decided it, where anything did but the order.
    found_by
        The sources that found it.
    scores
        By scorer, its score and its place among the query's candidates by that score, from 1.
    """

    what: str
    why: str
    doc_id: str
    text: str
    found_by: str
    scores: dict[str, tuple[float, int]]


class Asked(NamedTuple):
    """A query with its documents: the positives, the kept negatives in their order, the removed ones by rank."""

    query_id: str
    query: str
    documents: list[Shown]


def read_mined(
    mined: Artifact,
    corpus: pl.LazyFrame,
    pairs: pl.LazyFrame,
    query_ids: Sequence[str],
) -> dict[str, Asked]:
    """Return what was mined for some queries by their ids.

    Parameters
    ----------
    mined
        A round's `hard_negatives`.
    corpus, pairs
        The corpus and the judged pairs that it was mined for.
    """
    here = pl.col("query_id").is_in(list(query_ids))
    negatives, positives = (pl.scan_parquet(mined.path / name).filter(here).collect() for name in (TABLE, POSITIVES))
    queries = dict(pairs.filter(here).select("query_id", "query").unique("query_id").collect().iter_rows())
    texts = texts_of(corpus, pairs, pl.concat([negatives["doc_id"], positives["doc_id"]]).unique())
    return {
        query_id: Asked(
            query_id,
            queries.get(query_id, GONE),
            [
                *_documents(
                    negatives.filter(query_id=query_id), positives.filter(query_id=query_id), texts, mined.report
                )
            ],
        )
        for query_id in query_ids
    }


def texts_of(corpus: pl.LazyFrame, pairs: pl.LazyFrame, doc_ids: pl.Series) -> dict[str, str]:
    """Return the texts of documents by id; one outside of the corpus has "pair:" and the id of its pair as its own."""
    inside = corpus.select("doc_id", text=DOCUMENT_TEXT)
    outside = pairs.filter(pl.col("doc_id").is_null(), pl.col("text").is_not_null()).select(doc_id=TEXT_ID, text="text")
    wanted = pl.concat([inside, outside]).filter(pl.col("doc_id").is_in(doc_ids.implode()))
    return dict(wanted.collect(engine="streaming").iter_rows())


def _documents(
    negatives: pl.DataFrame, positives: pl.DataFrame, texts: Mapping[str, str], report: Mapping[str, Any]
) -> Iterator[Shown]:
    names = [name.removesuffix(SCORE) for name in positives.columns if name.endswith(SCORE)]
    reference = positives.select(getattr(pl.col(f"{name}{SCORE}"), report["positive_score"])() for name in names)
    against = reference.row(0, named=True)

    def scored(row: Mapping[str, Any]) -> dict[str, tuple[float, int]]:
        known = {name: row[f"{name}{SCORE}"] for name in names}
        return {name: (score, 1 + int((negatives[f"{name}{SCORE}"] > score).sum())) for name, score in known.items()}

    for row in positives.iter_rows(named=True):
        yield Shown(POSITIVE, "", row["doc_id"], texts.get(row["doc_id"], GONE), "", scored(row))
    for row in negatives.sort("order", "rank", nulls_last=True).iter_rows(named=True):
        what = "removed" if row["order"] is None else f"kept {row['order']}"
        why = _reason(row, against, report)
        yield Shown(what, why, row["doc_id"], texts.get(row["doc_id"], GONE), row["found_by"] or "", scored(row))


def _reason(row: Mapping[str, Any], against: Mapping[str, float], report: Mapping[str, Any]) -> str:
    """Return a candidate's reason; of a rule with its parameters and the scores that it looked at."""
    reason = row["reason"] or ""
    for rule in report["rules"]:
        teacher, name = rule["teacher"], rule["rule"]
        if reason == f"{teacher}:{name}":
            given = "".join(f", {key} {value:g}" for key, value in rule.items() if key not in ("teacher", "rule"))
            score = f"{teacher}{SCORE}"
            return f"{name}{given}: {teacher} gives it {row[score]:.3f} and the positive {against[score]:.3f}"
    return reason.replace("_", " ")
