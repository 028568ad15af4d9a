"""Which passages a generator may write about, in an order that the seed decides, and what a model is asked of each."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from conan_assets.data.tables import DOCUMENT_TEXT
from conan_assets.llm.completions import Messages
from conan_assets.synthesis.settings import OpenAIGeneration
from conan_assets.synthesis.tasks import build_prompt

PASSAGES_VERSION = 1
"""Raise it when other passages are chosen, or in another order."""


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


@dataclass(frozen=True)
class Passage:
    """What one prompt is about: its place in the order, the document, and the task."""

    number: int
    doc_id: str
    dataset: str
    text: str
    task: str


def passages_to_ask_about(settings: OpenAIGeneration, passages: pl.DataFrame) -> Iterator[Passage]:
    """Yield what to write about, in order: the passages cut to length, the tasks in turn."""
    for number, (doc_id, dataset, text) in enumerate(passages.select("doc_id", "dataset", "text").iter_rows()):
        task = settings.tasks[number % len(settings.tasks)]
        yield Passage(number, doc_id, dataset, text[: settings.max_passage_chars], task)


def prompt_about(settings: OpenAIGeneration, passage: Passage) -> Messages:
    """Return the first prompt about a passage."""
    seed = f"{settings.seed}:{passage.doc_id}"
    return build_prompt(passage.task, settings.prompt_language, passage.text, settings.pairs_per_passage, seed)
