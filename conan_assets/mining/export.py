"""Mined negatives in the shapes that other trainers read; the ids become texts."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from conan_assets.data.tables import DOCUMENT_TEXT
from conan_assets.data.training_files import TEXT_ID
from conan_assets.files import atomic_path

Row = dict[str, Any]


def export(
    negatives: pl.DataFrame, pairs: pl.DataFrame, corpus: pl.DataFrame, layout: str, count: int, path: Path
) -> int:
    """Write :func:`examples` to ``path`` as JSONL; return the number of lines."""
    rows = examples(negatives, pairs, corpus, layout, count)
    lines = 0
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            lines += 1
    return lines


def examples(
    negatives: pl.DataFrame, pairs: pl.DataFrame, corpus: pl.DataFrame, layout: str, count: int
) -> Iterator[Row]:
    """Return the training queries with their first ``count`` kept negatives, as another trainer reads them.

    Parameters
    ----------
    negatives, pairs, corpus
        A mined table, the training pairs it was mined for, and the corpus.
    layout
        ``triplet`` or ``n_tuple`` (sentence-transformers), ``flag_embedding``, ``tevatron`` or ``nemo``.
    count
        Negatives of each query; ``n_tuple`` leaves out queries with fewer, since its columns are fixed.

    Raises
    ------
    ValueError
        There is no such layout.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"there is no layout {layout!r}; the layouts are {', '.join(LAYOUTS)}")
    samples = _samples(negatives, pairs, corpus, count)
    return (row for sample in samples for row in LAYOUTS[layout](sample, count))


def _samples(negatives: pl.DataFrame, pairs: pl.DataFrame, corpus: pl.DataFrame, count: int) -> Iterator[Row]:
    """Yield each query with its positives and kept negatives as lists of {doc_id, title, text, full, score}."""
    judged = pairs.filter(pl.col("task") == "retrieval").with_columns(TEXT_ID.alias("doc_id"), inside="doc_id")
    outside = judged.filter(pl.col("inside").is_null()).select("doc_id", title=pl.lit(""), text="text", full="text")
    inside = corpus.select("doc_id", pl.col("title").fill_null(""), "text", full=DOCUMENT_TEXT)
    texts = pl.concat([inside, outside.unique("doc_id")])
    document = pl.struct("doc_id", "title", "text", "full", "score")
    positive = judged.filter(pl.col("score") > 0).unique(["query_id", "doc_id"], maintain_order=True)
    positives = (
        positive.select("query_id", "query", "doc_id", "score")
        .join(texts, on="doc_id", maintain_order="left")
        .group_by("query_id", maintain_order=True)
        .agg(pl.col("query").first(), positives=document)
    )
    kept = negatives.filter(pl.col("verdict") == "kept", pl.col("order") <= count).sort("query_id", "order")
    mined = (
        kept.select("query_id", "doc_id", score="student_score")
        .join(texts, on="doc_id", maintain_order="left")
        .group_by("query_id", maintain_order=True)
        .agg(negatives=document)
    )
    yield from positives.join(mined, on="query_id", maintain_order="left").iter_rows(named=True)


def _triplet(sample: Row, count: int) -> Iterator[Row]:
    for positive in sample["positives"]:
        for negative in sample["negatives"]:
            yield {"anchor": sample["query"], "positive": positive["full"], "negative": negative["full"]}


def _n_tuple(sample: Row, count: int) -> Iterator[Row]:
    if len(sample["negatives"]) < count:
        return
    columns = {f"negative_{number}": negative["full"] for number, negative in enumerate(sample["negatives"], start=1)}
    for positive in sample["positives"]:
        yield {"anchor": sample["query"], "positive": positive["full"], **columns}


def _flag_embedding(sample: Row, count: int) -> Iterator[Row]:
    yield {
        "query": sample["query"],
        "pos": [positive["full"] for positive in sample["positives"]],
        "neg": [negative["full"] for negative in sample["negatives"]],
        "neg_scores": [negative["score"] for negative in sample["negatives"]],
    }


def _tevatron(sample: Row, count: int) -> Iterator[Row]:
    def passages(documents: list[Row]) -> list[Row]:
        return [{"docid": d["doc_id"], "title": d["title"], "text": d["text"]} for d in documents]

    yield {
        "query_id": sample["query_id"],
        "query": sample["query"],
        "positive_passages": passages(sample["positives"]),
        "negative_passages": passages(sample["negatives"]),
    }


def _nemo(sample: Row, count: int) -> Iterator[Row]:
    yield {
        "query": sample["query"],
        "pos_doc": [positive["full"] for positive in sample["positives"]],
        "neg_doc": [negative["full"] for negative in sample["negatives"]],
    }


LAYOUTS: dict[str, Callable[[Row, int], Iterator[Row]]] = {
    "triplet": _triplet,
    "n_tuple": _n_tuple,
    "flag_embedding": _flag_embedding,
    "tevatron": _tevatron,
    "nemo": _nemo,
}
