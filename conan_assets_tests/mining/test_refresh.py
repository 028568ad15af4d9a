"""Re-mining from stored pools encodes their documents alone and says what it may have missed."""

import polars as pl
import pytest

from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.mining.settings import MiningSettings
from conan_assets_tests.conftest import build_tiny_model
from conan_assets_tests.mining.conftest import mine_round

KEPT = pl.col("verdict") == "kept"


@pytest.fixture(scope="module")
def next_checkpoint(tmp_path_factory) -> Encoder:
    folder = build_tiny_model(tmp_path_factory.mktemp("next"), seed=1)
    return Encoder(EncoderSettings(folder, dtype="float32"), device="cpu")


@pytest.fixture
def mine(corpus, pairs, no_pairs, store, tmp_path):
    def run(encoder: Encoder, previous: pl.DataFrame | None, **options):
        mining = MiningSettings.model_validate({"depth": 3, "veto": [], **options})
        return mine_round(mining, encoder, {}, {}, corpus, pairs, no_pairs, previous, store, tmp_path / "m")

    return run


def test_a_second_run_with_the_same_checkpoint_encodes_nothing(mine, encoder):
    first, report = mine(encoder, None)
    assert report["encoded"] == 150
    again, report = mine(encoder, first)
    assert report["encoded"] == 0
    assert again.equals(first)


def test_pools_are_searched_anew_and_only_their_documents_are_encoded(mine, encoder, next_checkpoint):
    first, _ = mine(encoder, None)
    first = first.filter(pl.col("rank") <= 1)
    pooled = set(first["doc_id"])
    assert len(pooled) < 40
    second, report = mine(next_checkpoint, first, refresh={"mode": "pool", "drift_documents": 0.0})
    assert set(second["doc_id"]) <= pooled
    assert report["refresh"][0]["share_of_documents_in_pools"] == pytest.approx(len(pooled) / 120, abs=1e-4)
    assert "overlap_with_full_at_least" not in report["refresh"][0]
    queries, positives = 30, 40
    assert len(pooled) + queries <= report["encoded"] <= len(pooled) + queries + positives


@pytest.mark.slow
def test_with_every_document_sampled_the_estimate_is_a_lower_bound_of_the_overlap(mine, encoder, next_checkpoint):
    first, _ = mine(encoder, None)
    settings = {"negatives_per_query": 3, "pool_depth": 3}
    full, _ = mine(next_checkpoint, None, **settings)
    for ranks in (1, 3):
        pools = first.filter(pl.col("rank") <= ranks)
        pool, report = mine(next_checkpoint, pools, refresh={"mode": "pool", "drift_documents": 1.0}, **settings)
        overlap = full.join(pool, on=["query_id", "doc_id"], how="semi").height / full.height
        assert report["refresh"][0]["overlap_with_full_at_least"] <= overlap + 1e-9
        missed = report["refresh"][0]["missed_per_query_estimate"]
        assert missed >= 3 * (1 - overlap) - 1e-3


@pytest.mark.slow
def test_pools_that_hold_every_document_give_the_full_result(mine, encoder, next_checkpoint):
    everything, _ = mine(encoder, None, depth=120)
    full, _ = mine(next_checkpoint, None)
    pool, report = mine(next_checkpoint, everything, refresh={"mode": "pool"})
    assert pool.equals(full)
    assert report["refresh"][0]["overlap_with_full_at_least"] == 1.0


def test_the_first_round_searches_everything_since_there_are_no_pools(mine, encoder):
    full, _ = mine(encoder, None)
    first, report = mine(encoder, None, refresh={"mode": "pool"})
    assert first.equals(full)
    assert "refresh" not in report


def test_a_new_query_finds_candidates_in_the_pools_of_the_others(mine, encoder):
    first, _ = mine(encoder, None)
    second, _ = mine(encoder, first.filter(pl.col("query_id") != "made:q4"), refresh={"mode": "pool"})
    assert second.filter(pl.col("query_id") == "made:q4").height == 3


def test_a_positive_found_since_then_leaves_the_pool(mine, encoder, corpus, pairs, no_pairs, store, tmp_path):
    first, _ = mine(encoder, None)
    row = first.filter(pl.col("query_id") == "made:q4").row(0, named=True)
    found = pairs.filter(pl.col("query_id") == "made:q4").with_columns(
        doc_id=pl.lit(row["doc_id"]), pair_id=pl.lit("new")
    )
    mining = MiningSettings.model_validate({"depth": 3, "veto": [], "refresh": {"mode": "pool"}})
    second, _ = mine_round(
        mining, encoder, {}, {}, corpus, pl.concat([pairs, found]), no_pairs, first, store, tmp_path / "m"
    )
    assert second.filter(pl.col("query_id") == "made:q4", pl.col("doc_id") == row["doc_id"]).is_empty()
