"""Mined negatives are used again only by code that would mine the same."""

import numpy as np
import polars as pl
import pytest

from conan_assets.mining.api import Embedded, mine
from conan_assets.mining.miner import MINING_VERSION
from conan_assets.mining.settings import MiningSettings

SELECTIONS = {
    "best first": {"selection": {"rule": "best_first"}},
    "sampled": {"selection": {"rule": "sampled_top_k", "sample_from": 5}},
    "first, then sampled": {"selection": {"rule": "top1_sampled_top_k", "sample_from": 5}},
    "resampled": {"depth": 6, "on_shortage": "resample", "negatives_per_query": 5, "pool_depth": 5},
}
GOLDEN = {
    4: {
        "best first": [[12, 4, 3, 5, 15, 14, 11, 8], [4, 1, 6, 11, 15, 9], [9, 13, 4], [3, 5, 10, 6, 11]],
        "sampled": [[12, 4, 15, 3, 5, 14, 11, 8], [4, 1, 6, 11, 15, 9], [9, 13, 4], [11, 5, 3, 10, 6]],
        "first, then sampled": [[12, 4, 15, 3, 5, 14, 11, 8], [4, 1, 6, 11, 15, 9], [9, 13, 4], [3, 11, 5, 10, 6]],
        "resampled": [[12, 4, 8, 3, 14], [5, 15, 7, 6, 11], [8, 9, 13, 14, 12], [6, 3, 11, 5, 2]],
    }
}
"""Each query's kept documents in their order, by version and selection."""


def vectors(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-3, 4, (rows, 6)).astype(np.float32)


@pytest.mark.parametrize("name", SELECTIONS)
def test_other_negatives_need_another_version(name):
    ids = [f"q{i}" for i in range(4)]
    queries = pl.DataFrame({"query_id": ids, "text": [f"question {i}" for i in range(4)]})
    corpus = pl.DataFrame({"doc_id": [f"d{i}" for i in range(16)], "text": [f"text number {i}" for i in range(16)]})
    positives = pl.DataFrame({"query_id": [*ids, "q0"], "doc_id": ["d1", "d2", "d3", "d4", "d9"]})
    settings = MiningSettings.model_validate(
        {"depth": 12, "negatives_per_query": 3, "pool_depth": 100, **SELECTIONS[name]}
    )
    teacher = Embedded(vectors(4, seed=2), vectors(16, seed=3))
    table = mine(queries, corpus, positives, teacher=teacher, rule="top_k_margin_pos", margin=1.0, settings=settings)
    kept = table.filter(pl.col("verdict") == "kept").sort("query_id", "order")
    found = [kept.filter(pl.col("query_id") == query)["doc_id"].str.slice(1).cast(pl.Int64).to_list() for query in ids]
    assert found == GOLDEN.get(MINING_VERSION, {}).get(name), (
        f"the numbers changed: raise MINING_VERSION, or undo the change; they are {found}"
    )
