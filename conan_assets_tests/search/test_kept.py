"""Documents in shards."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from conan_assets.search import kept
from conan_assets.search.kept import DocumentShards
from conan_assets.search.vectors import ArrayVectors


@given(st.integers(0, 4_000))
def test_shards_hold_every_document_once_and_none_of_several_is_small(count: int):
    size = kept.DOCUMENTS_PER_SHARD
    kept.DOCUMENTS_PER_SHARD = 512
    try:
        shards = DocumentShards(ArrayVectors(np.arange(count, dtype=np.float32)[:, None]))
        found = [shards[number] for number in range(len(shards))]
    finally:
        kept.DOCUMENTS_PER_SHARD = size
    assert [start for start, _ in found] == [512 * number for number in range(len(found))]
    assert np.array_equal(np.concatenate([np.empty((0, 1)), *(rows for _, rows in found)])[:, 0], np.arange(count))
    assert len(found) < 2 or min(len(rows) for _, rows in found) >= 256
