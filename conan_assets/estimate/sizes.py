"""How much a programme works on: counted in its sources, or given, and multiplied to plan for more."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

from conan_assets.data.tables import DOCUMENT_TEXT
from conan_assets.encoding.models import locate_model
from conan_assets.settings import Settings, SettingsError
from conan_assets.synthesis.settings import NoGeneration

SAMPLED_ROWS = 512
OBJECT_BYTES = 57
"""What a text takes in Python besides its characters."""


@dataclass(frozen=True)
class Sizes:
    """The rows of a programme, and what they are like.

    Attributes
    ----------
    documents, queries, sentence_pairs
        Rows of the corpus; queries that train, written ones included; scored sentence pairs.
    written_queries
        How many of the queries a generation writes.
    positives
        Documents that answer a query, on average.
    judged_queries
        Queries of the dev and test splits.
    document_lengths, query_lengths
        Tokens of some texts, as the base model counts them.
    document_bytes, pair_bytes
        Bytes of a row in `raw_corpus` and in `raw_pairs`, as they lie on the disk.
    text_bytes
        Bytes of a document in memory.
    """

    documents: int
    queries: int
    written_queries: int
    sentence_pairs: int
    positives: float
    judged_queries: int
    document_lengths: tuple[int, ...]
    query_lengths: tuple[int, ...]
    document_bytes: float
    pair_bytes: float
    text_bytes: float

    def tokens(self, kind: Literal["document", "query"], limit: int | None) -> float:
        """Return the mean tokens of a document or a query that is cut at ``limit`` tokens."""
        lengths = self.document_lengths if kind == "document" else self.query_lengths
        return sum(min(length, limit or length) for length in lengths) / max(len(lengths), 1)

    def scaled(self, documents: int, queries: int | None = None) -> "Sizes":
        """Return the sizes of the same programme with so many documents, and all else as many times as much.

        ``queries`` sets how many train instead.

        Raises
        ------
        SettingsError
            There is no document to multiply.
        """
        if not self.documents:
            raise SettingsError("the sources hold no document whose number could be multiplied: leave --documents out")
        factor = documents / self.documents
        return replace(
            self,
            documents=documents,
            queries=queries or round(self.queries * factor),
            written_queries=round(self.written_queries * factor),
            sentence_pairs=round(self.sentence_pairs * factor),
        )


def count_sizes(settings: Settings, corpus: pl.DataFrame, pairs: pl.DataFrame) -> Sizes:
    """Return the sizes of a programme with this corpus and these pairs, those of its sources."""
    judged = pairs.filter(pl.col("task") == "retrieval")
    training = judged.filter(pl.col("split") == "train", pl.col("score") > 0)
    queries = training["query_id"].n_unique()
    written = 0 if isinstance(settings.generation, NoGeneration) else settings.generation.max_pairs
    texts = _sample(corpus.select(text=DOCUMENT_TEXT)["text"])
    asked = _sample((judged if len(judged) else corpus.rename({"text": "query"}))["query"])
    return Sizes(
        documents=len(corpus),
        queries=queries + written,
        written_queries=written,
        sentence_pairs=len(pairs.filter(pl.col("task") == "sts", pl.col("split") == "train")),
        positives=len(training) / queries if queries else 1.0,
        judged_queries=judged.filter(pl.col("split") != "train")["query_id"].n_unique(),
        document_lengths=_lengths(settings, texts),
        query_lengths=_lengths(settings, asked),
        document_bytes=_bytes_of_a_row(corpus),
        pair_bytes=_bytes_of_a_row(pairs),
        text_bytes=OBJECT_BYTES + sum(len(text.encode()) for text in texts) / max(len(texts), 1),
    )


def _sample(texts: pl.Series) -> list[str]:
    kept = texts.drop_nulls()
    return kept.sample(min(SAMPLED_ROWS, len(kept)), seed=0).to_list()


def _lengths(settings: Settings, texts: Sequence[str]) -> tuple[int, ...]:
    """Return the tokens of every text in the base model; ModelNotFoundError where it is not here."""
    from transformers import AutoTokenizer

    folder = locate_model(settings.base_model.model, settings.base_model.revision)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=settings.base_model.trust_remote_code)
    return tuple(map(len, tokenizer(list(texts), verbose=False)["input_ids"]))


def _bytes_of_a_row(frame: pl.DataFrame) -> float:
    """Return the bytes of a row as a table is written, by some of its rows."""
    sample = frame.head(20 * SAMPLED_ROWS)
    file = io.BytesIO()
    sample.write_parquet(file)
    return len(file.getvalue()) / max(len(sample), 1)
