"""A small judged corpus, a tiny encoder and its store."""

from pathlib import Path

import polars as pl
import pytest

from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.encoding.store import EmbeddingStore

TOPICS = [
    "sorting lists",
    "open files",
    "parse json",
    "send mail",
    "draw plots",
    "count words",
    "sleep long",
    "hash keys",
]


@pytest.fixture(scope="session")
def corpus() -> pl.DataFrame:
    rows = [
        {
            "doc_id": f"{dataset}:d{number}-{topic}",
            "dataset": dataset,
            "title": f"how to {name}" if number == 3 else "",
            "text": f"advice {number} on {name}: read the manual, {dataset}",
        }
        for dataset in ("animals", "python")
        for topic, name in enumerate(TOPICS)
        for number in range(5)
    ]
    return pl.DataFrame(rows)


@pytest.fixture(scope="session")
def pairs(corpus: pl.DataFrame) -> pl.DataFrame:
    rows = []
    for split, wanted in (("dev", 1), ("test", 2)):
        for topic, name in enumerate(TOPICS):
            for number, score in ((wanted, 1.0), (4, 0.0)):
                doc_id = f"python:d{number}-{topic}"
                rows.append(
                    _pair(
                        "python",
                        split,
                        f"python:{split}-{topic}",
                        f"advice {wanted} on {name}: read the {split}",
                        doc_id,
                        score,
                    )
                )
    rows.append(_pair("python", "test", "python:unanswered", "nobody knows this", "python:d0-0", 0.0))
    rows.append(_pair("python", "train", "python:train-0", "train on sorting", "python:d0-0", 1.0))
    rows.append(_pair("animals", "test", "animals:test-0", "feed a dog", "animals:d0-0", 1.0))
    return pl.DataFrame(rows).with_columns(pl.col("score").cast(pl.Float32))


def _pair(dataset: str, split: str, query_id: str, query: str, doc_id: str, score: float) -> dict:
    return {
        "pair_id": f"{query_id}-{doc_id}",
        "task": "retrieval",
        "dataset": dataset,
        "origin": "natural",
        "split": split,
        "query_id": query_id,
        "query": query,
        "doc_id": doc_id,
        "text": None,
        "score": score,
    }


@pytest.fixture(scope="session")
def encoder(tiny_model: str) -> Encoder:
    return Encoder(EncoderSettings(tiny_model, dtype="float32"), device="cpu")


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return EmbeddingStore(tmp_path / "embeddings", dtype="float32")
