"""Which passages a generator may write about, in an order that the seed decides."""

import hashlib

import polars as pl

from conan_assets.data.tables import DOCUMENT_TEXT


def choose_passages(corpus: pl.DataFrame, pairs: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return (doc_id, dataset, text) of the passages that may be written about, in a seeded order.

    Left out are the corpora of datasets that do not train, and every document that answers a dev or test query: a
    question written from one would come close to the question it is judged by. A changed corpus leaves the order of
    the passages that stayed as it was.

    Parameters
    ----------
    corpus
        CORPUS of every dataset.
    pairs
        PAIRS of every split.
    seed
        Decides the order.
    """
    trains = pairs.filter(pl.col("split") == "train").select("dataset").unique()
    answers_evaluation = (
        pairs.filter((pl.col("split") != "train") & (pl.col("score") > 0)).select("doc_id").drop_nulls()
    )
    usable = corpus.join(trains, on="dataset", how="semi").join(answers_evaluation, on="doc_id", how="anti")
    order = [hashlib.sha256(f"{seed}:{doc_id}".encode()).digest() for doc_id in usable["doc_id"]]
    return (
        usable.select("doc_id", "dataset", text=DOCUMENT_TEXT)
        .with_columns(order=pl.Series(order, dtype=pl.Binary))
        .sort("order")
        .drop("order")
    )
