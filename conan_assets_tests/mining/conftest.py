"""A small corpus with training pairs, and what mining needs around it."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from conan_assets.cleaning import TABLE
from conan_assets.data.tables import CORPUS, PAIRS, check_table
from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.encoding.store import EmbeddingStore
from conan_assets.mining.hard_negatives import mine_hard_negatives
from conan_assets.mining.teacher_scores import score_with_teacher
from conan_assets.search.settings import BM25Teacher, TeacherSettings

WORDS = [f"{first}{second}" for first in "bcdfgklm" for second in ("ara", "eno", "ilu", "oto", "umi", "ysa")]


def make_corpus(documents: int = 120, seed: int = 0, dataset: str = "made") -> pl.DataFrame:
    generator = np.random.default_rng(seed)
    texts = [" ".join(generator.choice(WORDS, 9)) for _ in range(documents)]
    rows = {"doc_id": [f"{dataset}:d{i}" for i in range(documents)], "dataset": dataset, "title": None, "text": texts}
    return check_table(pl.DataFrame(rows, schema_overrides={"title": pl.String}), CORPUS, "corpus")


def make_pair(number: int, document: int | None, text: str | None = None, score: float = 1.0, **columns: str) -> dict:
    dataset = columns.get("dataset", "made")
    return {
        "pair_id": f"{dataset}:q{number}+{document if document is not None else text}",
        "task": "retrieval",
        "dataset": dataset,
        "origin": "natural",
        "split": "train",
        "query_id": f"{dataset}:q{number}",
        "query": f"question {number}",
        "doc_id": None if document is None else f"{dataset}:d{document}",
        "text": text,
        "score": score,
        **columns,
    }


def make_pairs(rows: list[dict]) -> pl.DataFrame:
    return check_table(pl.DataFrame(rows, schema_overrides=dict(PAIRS.columns)), PAIRS, "pairs")


def first_words(corpus: pl.DataFrame, document: int, count: int = 4) -> str:
    return " ".join(corpus["text"][document].split()[:count])


@pytest.fixture
def corpus() -> pl.DataFrame:
    return make_corpus()


@pytest.fixture
def pairs(corpus: pl.DataFrame) -> pl.DataFrame:
    """Thirty queries, each made of the first words of its positive; every third has a second positive."""
    rows = [make_pair(i, i, query=first_words(corpus, i)) for i in range(30)]
    rows += [make_pair(i, 60 + i, query=first_words(corpus, i)) for i in range(0, 30, 3)]
    return make_pairs(rows)


@pytest.fixture
def no_pairs() -> pl.DataFrame:
    return pl.DataFrame(schema=dict(PAIRS.columns))


@pytest.fixture(scope="session")
def encoder(tiny_model: str) -> Encoder:
    return Encoder(EncoderSettings(tiny_model, dtype="float32"), device="cpu")


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return EmbeddingStore(tmp_path / "embeddings")


@pytest.fixture
def bm25(
    corpus: pl.DataFrame, pairs: pl.DataFrame, store: EmbeddingStore, tmp_path: Path
) -> tuple[TeacherSettings, pl.LazyFrame]:
    """Settings and scores of a BM25 teacher."""
    settings = BM25Teacher(depth=20)
    return settings, score(settings, "bm25", corpus, pairs, store, tmp_path / "bm25")[0].lazy()


def score(
    settings: TeacherSettings, name: str, corpus: pl.DataFrame, pairs: pl.DataFrame, store: EmbeddingStore, folder: Path
) -> tuple[pl.DataFrame, dict]:
    """Return a teacher's table and its report."""
    folder.mkdir(exist_ok=True)
    report = score_with_teacher(settings, name, corpus.lazy(), pairs.lazy(), store, folder)
    return pl.read_parquet(folder / TABLE), report


def mine_round(settings, student, teachers, tables, corpus, pairs, evaluation, previous, store, folder, ask=None):
    """Return a round's negatives table and its report."""
    folder.mkdir(exist_ok=True)
    lazy = [corpus.lazy(), pairs.lazy(), evaluation, None if previous is None else previous.lazy()]
    report = mine_hard_negatives(settings, student, teachers, tables, *lazy, store, folder, ask)
    return pl.read_parquet(folder / TABLE), report
