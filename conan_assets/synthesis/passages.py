"""Which passages a generator may write about, in an order that the seed decides, and what a model is asked of each."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import polars as pl

from conan_assets.compute import IN_PROCESS, Compute
from conan_assets.data.document_groups import split_passages
from conan_assets.data.documents import document_of
from conan_assets.data.settings import UnaskedSource
from conan_assets.data.tables import DOCUMENT_TEXT
from conan_assets.llm.completions import Messages
from conan_assets.synthesis.settings import OpenAIGeneration
from conan_assets.synthesis.tasks import TWO_PASSAGES, build_prompt, draw, question_kind, share_of

PASSAGES_VERSION = 1
"""Raise it when other passages are chosen, or in another order."""

NO_DOCUMENTS: Mapping[str, UnaskedSource] = MappingProxyType({})


def choose_passages(
    corpus: pl.DataFrame,
    pairs: pl.DataFrame,
    seed: int,
    documents: Mapping[str, UnaskedSource] = NO_DOCUMENTS,
    compute: Compute = IN_PROCESS,
) -> pl.DataFrame:
    """Return (doc_id, dataset, text, group, split, next_id) of the passages to write about, in a seeded order.

    ``next_id`` is the passage that follows in the same document and split, if any.

    Of a dataset with queries of its own, left out are the whole corpus if it does not train, and every document that
    answers a dev or test query: a question written from one would come close to the question it is judged by. The
    ``documents`` have no queries: theirs are written for every split, by groups of documents. A changed corpus leaves
    the order of the passages that stayed as it was.

    Parameters
    ----------
    corpus
        CORPUS of every dataset.
    pairs
        PAIRS of every split.
    seed
        Decides the order.
    documents
        The datasets without queries of their own, and how many of their documents are held out.
    compute
        Who looks for near-equal documents where there are many.
    """
    trains = pairs.filter(pl.col("split") == "train").select("dataset").unique()
    answers_evaluation = (
        pairs.filter((pl.col("split") != "train") & (pl.col("score") > 0)).select("doc_id").drop_nulls()
    )
    usable = corpus.join(trains, on="dataset", how="semi").join(answers_evaluation, on="doc_id", how="anti")
    usable = usable.select("doc_id", group=pl.lit(None, pl.String), split=pl.lit("train"))
    split = [_of_documents(name, corpus, source, compute) for name, source in documents.items()]
    chosen = corpus.join(pl.concat([usable, *split]), on="doc_id", how="inner", maintain_order="left")
    document = document_of(pl.col("doc_id"))
    chosen = chosen.with_columns(next_id=pl.col("doc_id").shift(-1).over("dataset", document, "group", "split"))
    order = [hashlib.sha256(f"{seed}:{doc_id}".encode()).digest() for doc_id in chosen["doc_id"]]
    return (
        chosen.select("doc_id", "dataset", "group", "split", "next_id", text=DOCUMENT_TEXT)
        .with_columns(order=pl.Series(order, dtype=pl.Binary))
        .sort("order")
        .drop("order")
    )


def _of_documents(name: str, corpus: pl.DataFrame, source: UnaskedSource, compute: Compute) -> pl.DataFrame:
    """Return ``doc_id``, ``group`` and ``split`` of the passages to ask about, those to train on if the source does."""
    split = split_passages(name, corpus, source, compute).select("doc_id", "group", "split").drop_nulls("split")
    return split if source.train else split.filter(pl.col("split") != "train")


@dataclass(frozen=True)
class Passage:
    """What one prompt is about: its place in the order, the document, its split and group, and the task.

    A question over two passages has a second one.
    """

    number: int
    doc_id: str
    dataset: str
    text: str
    task: str
    split: str = "train"
    group: str | None = None
    second_id: str | None = None
    second_text: str = ""


def passages_to_ask_about(settings: OpenAIGeneration, passages: pl.DataFrame) -> Iterator[Passage]:
    """Yield what to write about, in order: the passages cut to length, the tasks in turn, questions if held out."""
    columns = ("doc_id", "dataset", "text", "split", "group", "next_id")
    texts = dict(passages.select("doc_id", "text").iter_rows()) if settings.two_passages_percent else {}
    for number, (doc_id, dataset, text, split, group, next_id) in enumerate(passages.select(columns).iter_rows()):
        task = settings.tasks[number % len(settings.tasks)] if split == "train" else "question"
        asks_two = share_of(f"two_passages:{settings.seed}:{doc_id}") * 100 < settings.two_passages_percent
        second = next_id if task == "question" and asks_two else None
        cut = text[: settings.max_passage_chars], texts.get(second, "")[: settings.max_passage_chars]
        yield Passage(number, doc_id, dataset, cut[0], task, split, group, second, cut[1])


def prompt_about(settings: OpenAIGeneration, passage: Passage) -> Messages:
    """Return the first prompt about a passage."""
    seed = _seed_of(settings, passage)
    return build_prompt(
        passage.task,
        settings.prompt_language,
        passage.text,
        settings.pairs_per_passage,
        seed,
        settings.examples,
        settings.kinds,
        passage.second_text,
    )


def asked_for(settings: OpenAIGeneration, passage: Passage) -> str:
    """Return what that prompt asks for: the name of its template, and what was drawn for it."""
    drawn = draw(passage.task, settings.prompt_language, _seed_of(settings, passage), settings.kinds)
    template = TWO_PASSAGES if passage.second_id is not None else passage.task
    return "; ".join([f"{settings.prompt_language}/{template}", *drawn.values()])


def kind_of(settings: OpenAIGeneration, passage: Passage) -> str | None:
    """Return the kind of question that it asks for, None for other tasks."""
    return question_kind(_seed_of(settings, passage), settings.kinds) if passage.task == "question" else None


def _seed_of(settings: OpenAIGeneration, passage: Passage) -> str:
    return f"{settings.seed}:{passage.doc_id}"
