"""Shards that several processes compute: the same results in the same order, whatever becomes of a process."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest

from conan_assets.compute import WorkerDiedError, devices
from conan_assets.compute.devices import Devices
from conan_assets.encoding import store as store_module
from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.encoding.store import EmbeddingStore
from conan_assets.search import cross_encoder, nearest
from conan_assets.search import kept as kept_module
from conan_assets.search.cross_encoder import CrossEncoderRetriever
from conan_assets.search.nearest import Nearest
from conan_assets.search.settings import CrossEncoderTeacher, SearchSettings
from conan_assets.search.vectors import ArrayVectors
from conan_assets_tests.compute.corpus import DOCUMENTS, EXCLUDED, QUERIES, as_bytes
from conan_assets_tests.compute.works import KeepFragileShard, KeepNumber, KilledWhileAnswering, Square

pytestmark = pytest.mark.slow

TEXTS = [f"text number {number} of many" + " and more" * (number % 7) for number in range(200)]


def test_two_processes_give_the_results_in_the_order_of_the_shards(tmp_path):
    assert list(Devices(2).map(Square(tmp_path), range(40))) == [number**2 for number in range(40)]
    workers = list(tmp_path.glob("process-*"))
    assert 1 <= len(workers) <= 2
    assert tmp_path / f"process-{os.getpid()}" not in workers


def test_one_shard_or_one_process_starts_no_other(tmp_path):
    assert list(Devices(2).map(Square(tmp_path), [3])) == [9]
    assert list(Devices(1).map(Square(tmp_path), [3, 4])) == [9, 16]
    assert list(Devices().map(Square(tmp_path), [])) == []
    assert [path.name for path in tmp_path.iterdir()] == [f"process-{os.getpid()}"]


@pytest.mark.parametrize(("shards", "processes"), [(31, 0), (32, 2), (200, 3)])
def test_each_gpu_has_a_process_only_where_there_is_enough_for_it_to_do(shards, processes, monkeypatch):
    monkeypatch.setattr(devices, "gpus", lambda: 3)
    spread = []
    monkeypatch.setattr(Devices, "_spread", lambda self, work, shards, count: spread.append(count))
    Devices().map(abs, range(shards))
    assert spread == ([processes] if processes else [])


def test_where_there_is_little_to_do_nobody_looks_for_gpus(monkeypatch):
    monkeypatch.delattr(devices, "gpus")
    assert list(Devices().map(abs, range(31))) == list(range(31))
    assert Devices().keep(abs, range(15)) is None


def test_what_a_killed_process_had_begun_another_computes(tmp_path, caplog):
    found = list(Devices(2).map(Square(tmp_path, deadly=5, deaths=2), range(12)))
    assert found == [number**2 for number in range(12)]
    assert len(list(tmp_path.glob("death-*"))) == 2
    assert "a process that computed died" in caplog.text


def test_a_process_that_is_killed_in_the_midst_of_its_answer_is_noticed(tmp_path):
    assert list(Devices(2).map(KilledWhileAnswering(tmp_path), range(6))) == [0, 1, 4, 9, 16, 25]
    assert (tmp_path / "death").exists()


def test_processes_end_when_no_more_results_are_taken(tmp_path):
    results = Devices(2).map(Square(tmp_path), range(40))
    assert next(results) == 0
    workers = [psutil.Process(int(path.name.removeprefix("process-"))) for path in tmp_path.glob("process-*")]
    results.close()
    assert workers
    assert not any(alive(worker) for worker in workers)


def test_a_shard_that_kills_every_process_is_named_and_what_came_before_is_kept(tmp_path):
    results = Devices(2).map(Square(tmp_path, deadly=3, deaths=99), range(6))
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    with pytest.raises(WorkerDiedError, match=r"died 3 times at shard 4 of 6.*compute\.processes"):
        next(results)


def test_an_error_in_a_process_is_the_callers(tmp_path):
    with pytest.raises(ValueError, match="-1 is below 0"):
        list(Devices(2).map(Square(tmp_path), [1, -1, 2]))


ENDLESS = """
import sys, time
from pathlib import Path
from functools import partial
from conan_assets.compute import devices

def sleep(shard, task=None):
    Path(sys.argv[1], f"begun-{shard}").touch()
    time.sleep(600)

def keep(shard):
    return partial(sleep, shard)

if __name__ == "__main__":
    devices.SHARDS_PER_HOLDER = 1
    two = devices.Devices(2)
    list(two.map(sleep, [1, 2, 3])) if sys.argv[2] == "map" else two.keep(keep, [1, 2]).ask(None, max)
"""


@pytest.mark.parametrize("way", ["map", "keep"])
def test_processes_end_with_the_one_that_started_them(tmp_path, way):
    (tmp_path / "endless.py").write_text(ENDLESS)
    with subprocess.Popen([sys.executable, str(tmp_path / "endless.py"), str(tmp_path), way]) as process:
        wait_until(lambda: len(list(tmp_path.glob("begun-*"))) == 2)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    wait_until(lambda: not [worker for worker in workers if alive(worker)])


def wait_until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(store_module, "ROWS_PER_SHARD", 16)
    monkeypatch.setattr(cross_encoder, "PAIRS_PER_PART", 16)


def test_embeddings_of_two_processes_are_those_of_one(tmp_path, tiny_model, small_shards):
    encoder = Encoder(EncoderSettings(tiny_model, dtype="float32", max_tokens=24), "cpu")
    alone, spread = EmbeddingStore(tmp_path / "one"), EmbeddingStore(tmp_path / "two", compute=Devices(2))
    theirs, ours = (store.embed(encoder, TEXTS, "document") for store in (alone, spread))
    assert ours.rows(np.arange(200)).tobytes() == theirs.rows(np.arange(200)).tobytes()
    assert (ours.encoded, ours.cut) == (theirs.encoded, theirs.cut)
    assert 0 < ours.cut < 200


def test_pairs_scored_by_two_processes_have_the_scores_of_one(tmp_path, tiny_cross_encoder, small_shards):
    rows, documents = np.arange(60) % 3, np.arange(60)
    settings = CrossEncoderTeacher(model=tiny_cross_encoder, max_tokens=64, dtype="float32")
    stores = EmbeddingStore(tmp_path / "one"), EmbeddingStore(tmp_path / "two", compute=Devices(2))
    theirs, ours = (
        CrossEncoderRetriever(settings, TEXTS, None, store).score(TEXTS[-3:], rows, documents) for store in stores
    )
    assert ours.tobytes() == theirs.tobytes()


@pytest.fixture
def few_shards_pay(monkeypatch):
    monkeypatch.setattr(devices, "SHARDS_PER_HOLDER", 2)


def asked(kept, task):
    """Return the sorted answers of all shards, and the holders."""
    answers, holders = zip(*kept.ask(task, set.union), strict=True)
    return sorted(answers), set(holders)


def test_two_processes_hold_the_shards_as_long_as_somebody_holds_what_asks_them(tmp_path, few_shards_pay):
    kept = Devices(2).keep(KeepNumber(tmp_path), range(7))
    answers, holders = asked(kept, 10)
    assert answers == [number * 10 for number in range(7)]
    assert len(holders - {os.getpid()}) == 2
    assert asked(kept, 3) == ([number * 3 for number in range(7)], holders)
    del kept
    wait_until(lambda: not any(psutil.pid_exists(holder) for holder in holders))


@pytest.mark.parametrize(("shards", "processes"), [(15, 0), (16, 2), (100, 3)])
@pytest.mark.parametrize(("given", "found"), [(None, 3), (3, 0)], ids=["three GPUs", "three processes on no GPU"])
def test_shards_are_held_by_others_only_where_there_are_enough_for_each(shards, processes, given, found, monkeypatch):
    monkeypatch.setattr(devices, "gpus", lambda: found)
    started = []
    monkeypatch.setattr(devices, "ProcessHolders", lambda count, make, shards: started.append(count))
    assert (Devices(given).keep(abs, range(shards)) is None) == (processes == 0)
    assert started == ([processes] if processes else [])
    assert Devices(1).keep(abs, range(1_000)) is None


def test_shards_that_take_more_than_half_of_the_free_memory_are_not_held(few_shards_pay, monkeypatch, caplog):
    shards = [bytes(2**20)] * 8
    for free, is_enough in ((16.1, True), (15.9, False)):
        monkeypatch.setattr(devices, "free_bytes_of_host", lambda free=free: int(free * 2**20))
        with caplog.at_level("INFO"):
            assert (Devices(2).keep(len, shards) is not None) == is_enough
        assert ("one searches it from disk" in caplog.text) != is_enough


@pytest.mark.parametrize("when", ["keep", "ask"])
def test_the_shards_of_a_process_that_is_killed_are_given_to_another(tmp_path, few_shards_pay, caplog, when):
    kept = Devices(2).keep(KeepNumber(tmp_path, deadly=3, deaths=2, when=when), range(6))
    answers, holders = asked(kept, 5)
    assert answers == [0, 5, 10, 15, 20, 25]
    assert len(list(tmp_path.glob("death-*"))) == 2
    assert "died at shard" in caplog.text
    os.kill(min(holders), signal.SIGKILL)
    answers, others = asked(kept, 2)
    assert answers == [0, 2, 4, 6, 8, 10]
    assert len(others - holders) == 1


def test_a_shard_that_kills_all_that_hold_it_is_named(tmp_path, few_shards_pay):
    kept = Devices(2).keep(KeepNumber(tmp_path, deadly=3, deaths=99, when="keep"), range(6))
    for _ in range(2):
        with pytest.raises(WorkerDiedError, match=r"died 3 times at shard 4 of 6.*compute\.processes"):
            kept.ask(1, set.union)


def test_an_error_in_a_process_that_holds_shards_is_the_callers_and_says_where_it_was(tmp_path, few_shards_pay):
    kept = Devices(2).keep(KeepNumber(tmp_path), [1, 2, -1, 4])
    with pytest.raises(ValueError, match="-1 is below 0") as raised:
        kept.ask(1, set.union)
    assert any("in __call__" in note for note in raised.value.__notes__)


@pytest.fixture
def documents(monkeypatch, few_shards_pay):
    monkeypatch.setattr(kept_module, "DOCUMENTS_PER_SHARD", 512)
    return DOCUMENTS


@pytest.mark.parametrize("screening", ["none", "bfloat16"])
def test_what_two_processes_find_is_what_one_finds_also_when_one_is_killed_meanwhile(
    tmp_path, documents, screening, monkeypatch
):
    settings = SearchSettings(screening=screening)
    expected, _ = Nearest(settings, documents).find(QUERIES, 20, EXCLUDED)
    monkeypatch.setattr(nearest, "KeepShard", KeepFragileShard)
    monkeypatch.setenv(KeepFragileShard.notes, str(tmp_path))
    found, recall = Nearest(settings, documents, Devices(2)).find(QUERIES, 20, EXCLUDED)
    assert as_bytes(found) == as_bytes(expected)
    assert recall is None
    assert (tmp_path / "death").exists()


def test_a_document_that_is_no_numbers_is_named_by_its_place_in_the_corpus(documents):
    rows = documents.block(0, 2_500).copy()
    rows[1_500, 3] = np.nan
    with pytest.raises(ValueError, match="document 1500 holds NaN"):
        list(kept_module.DocumentShards(ArrayVectors(rows)))


def test_an_index_in_each_process_tells_its_recall(documents):
    exact, _ = Nearest(SearchSettings(), documents).find(QUERIES, 20, EXCLUDED)
    for index, parameters, is_near in (("Flat", "", True), ("IVF16,Flat", "nprobe=1", False)):
        settings = SearchSettings(index=index, index_parameters=parameters, index_above=2_000)
        found, recall = Nearest(settings, documents, Devices(2)).find(QUERIES, 20, EXCLUDED)
        assert (recall == 1) == is_near
        assert (as_bytes(found)[0] == as_bytes(exact)[0]) == is_near
