"""The harness against published figures: all-MiniLM-L6-v2 and BM25 on BEIR's SciFact.

Encoding its 5,183 documents takes minutes on a CPU; it is the one slow test of this room.
"""

import time
from pathlib import Path

import polars as pl
import pytest

from conan_assets.data.settings import BeirSource
from conan_assets.data.sources import load_source
from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.models import DEMO_MODEL, ModelNotFoundError, locate_model
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.encoding.store import EmbeddingStore
from conan_assets.evaluation.run import evaluate_bm25, evaluate_encoder
from conan_assets.evaluation.settings import LocalSuite

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "scifact"
SUITES = {"beir": LocalSuite(dataset="scifact", splits=("test",))}
PUBLISHED_MINILM = 0.645
PUBLISHED_BM25 = 0.679

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the SciFact folder ../shared/data/scifact is not there")


@pytest.fixture(scope="module")
def scifact() -> tuple[pl.DataFrame, pl.DataFrame]:
    return load_source("scifact", BeirSource(kind="beir", path=FOLDER))


def ndcg(report) -> float:
    (value,) = [row["value"] for row in report["rows"] if row["main"]]
    return value


def test_bm25_scores_as_published(scifact, tmp_path):
    assert ndcg(evaluate_bm25(SUITES, *scifact, tmp_path)) == pytest.approx(PUBLISHED_BM25, abs=0.01)


def test_the_base_model_scores_as_published_and_a_second_evaluation_takes_seconds(scifact, tmp_path):
    try:
        locate_model(DEMO_MODEL)
    except ModelNotFoundError:
        pytest.skip(f"the weights of {DEMO_MODEL} are not there")
    encoder = Encoder(EncoderSettings(DEMO_MODEL, max_tokens=256))
    store = EmbeddingStore(tmp_path / "embeddings")
    first = evaluate_encoder(encoder, store, SUITES, *scifact, tmp_path / "first")
    assert ndcg(first) == pytest.approx(PUBLISHED_MINILM, abs=0.005)
    started = time.monotonic()
    second = evaluate_encoder(encoder, store, SUITES, *scifact, tmp_path / "second")
    assert (ndcg(second), second["texts_encoded"]) == (ndcg(first), 0)
    assert time.monotonic() - started < 30
