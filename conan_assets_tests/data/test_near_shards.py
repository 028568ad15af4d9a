"""Near-duplicates that others compute: those that one process finds, whatever the shards."""

import pickle

import numpy as np
import pytest

from conan_assets.compute import IN_PROCESS, InProcess
from conan_assets.compute.devices import Devices
from conan_assets.data import near_duplicates, near_shards
from conan_assets.data.near_shards import OtherHashesError, WithSameHashes
from conan_assets_tests.data.near_samples import near_texts_found_by


@pytest.mark.parametrize("shard_bytes", [1, 3_000, 40_000])
def test_shards_of_any_size_find_the_same(shard_bytes, monkeypatch):
    at_once = near_texts_found_by(IN_PROCESS)
    monkeypatch.setattr(near_duplicates, "SHARD_BYTES", shard_bytes)
    assert near_texts_found_by(IN_PROCESS) == at_once


class Noted(InProcess):
    """Notes how many shards it is given at a time."""

    def __init__(self) -> None:
        self.shards = []

    def map(self, work, shards):
        self.shards.append(len(shards))
        return super().map(work, shards)


def test_all_that_is_looked_for_is_given_to_who_computes(monkeypatch):
    monkeypatch.setattr(near_duplicates, "SHARD_BYTES", 1)
    near_texts_found_by(noted := Noted())
    assert len(noted.shards) == 10, "five searches, each of which signs and compares"


@pytest.mark.slow
def test_two_processes_find_what_one_finds(monkeypatch):
    monkeypatch.setattr(near_duplicates, "SHARD_BYTES", 2_000)
    assert near_texts_found_by(Devices(2)) == near_texts_found_by(IN_PROCESS)


def test_few_texts_start_no_process(monkeypatch):
    monkeypatch.delattr(Devices, "_spread")
    near_texts_found_by(Devices(2))


def test_a_process_that_hashes_otherwise_computes_nothing(monkeypatch):
    work = pickle.dumps(WithSameHashes(np.sum))
    assert pickle.loads(work)([1, 2]) == 3
    monkeypatch.setattr(near_shards, "_MIXER", np.uint64(3))
    with pytest.raises(OtherHashesError, match=r"polars and rensa must have the versions"):
        pickle.loads(work)([1, 2])
