"""The harness against published figures and against mteb itself, on BEIR's SciFact.

Encoding its 5,183 documents with the demo's model takes a minute or two on a CPU. It is done once: the embeddings stay
in pytest's cache, under the fingerprint of the weights and of all that decides an embedding.
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
from conan_assets.evaluation.run import evaluate_baseline, evaluate_encoder
from conan_assets.evaluation.settings import LocalSuite
from conan_assets.evaluation.suites import suite_tasks
from conan_assets_tests.evaluation.conftest import bm25
from conan_assets_tests.evaluation.plain import assert_equal_to_plain, plain_model, plain_scores

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "scifact"
SUITES = {"beir": LocalSuite(dataset="scifact", splits=("test",))}
MAX_TOKENS = 192
TINY_TOKENS = 24
EVERY = 10
PUBLISHED_MINILM = 0.645
LOST_BY_CUTTING = 0.005
PUBLISHED_BM25 = 0.679

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="the SciFact folder ../shared/data/scifact is not there"),
]


@pytest.fixture(scope="module")
def scifact() -> tuple[pl.DataFrame, pl.DataFrame]:
    return load_source("scifact", BeirSource(kind="beir", path=FOLDER))


def ndcg(report) -> float:
    (value,) = [row.value for row in report.rows if row.main]
    return value


def test_bm25_scores_as_published(scifact, tmp_path):
    report = evaluate_baseline(bm25(), SUITES, *scifact, tmp_path, tmp_path / "finished")
    assert ndcg(report) == pytest.approx(PUBLISHED_BM25, abs=0.01)


def test_the_figures_are_those_of_a_plain_sentence_transformer(scifact, tiny_model, tmp_path):
    corpus, pairs = scifact
    relevant = pairs.filter(split="test")["doc_id"]
    cut = corpus.filter(pl.col("doc_id").is_in(relevant.implode()) | (pl.int_range(pl.len()) % EVERY == 0))
    encoder = Encoder(EncoderSettings(tiny_model, max_tokens=TINY_TOKENS, dtype="float32"), device="cpu")
    store = EmbeddingStore(tmp_path / "embeddings", dtype="float32")
    report = evaluate_encoder(encoder, store, SUITES, cut, pairs, tmp_path, tmp_path / "finished")
    (part,) = suite_tasks(SUITES, cut, pairs)
    assert_equal_to_plain(report.rows, plain_scores(plain_model(tiny_model, TINY_TOKENS), part.task))


def test_the_base_model_scores_as_published_and_a_second_evaluation_takes_seconds(scifact, tmp_path, request):
    try:
        locate_model(DEMO_MODEL)
    except ModelNotFoundError:
        pytest.skip(f"the weights of {DEMO_MODEL} are not there")
    encoder = Encoder(EncoderSettings(DEMO_MODEL, max_tokens=MAX_TOKENS))
    store = EmbeddingStore(request.config.cache.mkdir("scifact_embeddings"))
    first = evaluate_encoder(encoder, store, SUITES, *scifact, tmp_path, tmp_path / "first")
    assert ndcg(first) == pytest.approx(PUBLISHED_MINILM, abs=LOST_BY_CUTTING)
    started = time.monotonic()
    second = evaluate_encoder(encoder, store, SUITES, *scifact, tmp_path, tmp_path / "second")
    assert (ndcg(second), second.texts_encoded) == (ndcg(first), 0)
    assert time.monotonic() - started < 30
