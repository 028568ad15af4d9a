"""A small judged corpus, a tiny encoder and its store."""

from pathlib import Path

import polars as pl
import pytest

from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.encoding.store import EmbeddingStore
from conan_assets.evaluation.models import SearchModel, baseline_model
from conan_assets.evaluation.report import PER_QUERY, LeaderboardEntry, baseline_per_query
from conan_assets.evaluation.run import evaluate_baseline, evaluate_encoder
from conan_assets.evaluation.settings import LocalSuite
from conan_assets.search.settings import BM25Teacher
from conan_assets_tests.conftest import build_tiny_model

DOCS = {"docs": LocalSuite(dataset="python", splits=("dev", "test"))}

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


def bm25() -> SearchModel:
    """Return BM25 as a baseline."""
    return baseline_model("bm25", BM25Teacher(), EmbeddingStore(Path()))


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


@pytest.fixture(scope="session")
def entries(
    encoder: Encoder, corpus: pl.DataFrame, pairs: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> list[LeaderboardEntry]:
    """Return BM25, a base model and one round of training, scored on a small source."""
    root = tmp_path_factory.mktemp("rounds")
    store, finished = EmbeddingStore(root / "embeddings"), root / "finished"
    trained = Encoder(EncoderSettings(build_tiny_model(root / "trained", seed=3), dtype="float32"), device="cpu")
    base = evaluate_encoder(encoder, store, DOCS, corpus, pairs, root / "round_0", finished)
    words = evaluate_baseline(bm25(), DOCS, corpus, pairs, root / "round_0", finished)
    compared = {"base model": root / "round_0"}
    first = evaluate_encoder(trained, store, DOCS, corpus, pairs, root / "round_1", finished, compared)
    return [
        LeaderboardEntry("round_0", "BM25", words, (root / "round_0" / baseline_per_query("bm25"),), baseline=True),
        LeaderboardEntry("round_0", "base", base, (root / "round_0" / PER_QUERY,)),
        LeaderboardEntry("round_1", "trained", first, (root / "round_1" / PER_QUERY,)),
    ]
