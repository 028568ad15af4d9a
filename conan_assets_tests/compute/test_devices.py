"""Shards that several processes compute: the same results in the same order, whatever becomes of a process."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from conan_assets.compute import WorkerDiedError, devices
from conan_assets.compute.devices import Devices
from conan_assets.encoding import store as store_module
from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.encoding.store import EmbeddingStore
from conan_assets.search import cross_encoder
from conan_assets.search.cross_encoder import CrossEncoderRetriever
from conan_assets.search.settings import CrossEncoderTeacher

pytestmark = pytest.mark.slow

TEXTS = [f"text number {number} of many" + " and more" * (number % 7) for number in range(200)]


@dataclass(frozen=True)
class Square:
    """Squares a number and notes who did; a process that is given ``deadly`` is killed while notes are missing."""

    notes: Path
    deadly: int = -1
    deaths: int = 0

    def __call__(self, number: int) -> int:
        if number == self.deadly and len(list(self.notes.glob("death-*"))) < self.deaths:
            (self.notes / f"death-{os.getpid()}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if number < 0:
            raise ValueError(f"{number} is below 0")
        (self.notes / f"process-{os.getpid()}").touch()
        return number**2


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
    monkeypatch.setattr(devices, "_gpus", lambda: 3)
    spread = []
    monkeypatch.setattr(Devices, "_spread", lambda self, work, shards, count: spread.append(count))
    Devices().map(abs, range(shards))
    assert spread == ([processes] if processes else [])


def test_where_there_is_little_to_do_nobody_looks_for_gpus(monkeypatch):
    monkeypatch.delattr(devices, "_gpus")
    assert list(Devices().map(abs, range(31))) == list(range(31))


def test_what_a_killed_process_had_begun_another_computes(tmp_path, caplog):
    found = list(Devices(2).map(Square(tmp_path, deadly=5, deaths=2), range(12)))
    assert found == [number**2 for number in range(12)]
    assert len(list(tmp_path.glob("death-*"))) == 2
    assert "a process that computed died" in caplog.text


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
from conan_assets.compute.devices import Devices

def sleep(shard):
    Path(sys.argv[1], f"begun-{shard}").touch()
    time.sleep(600)

if __name__ == "__main__":
    list(Devices(2).map(sleep, [1, 2, 3]))
"""


def test_processes_end_with_the_one_that_started_them(tmp_path):
    (tmp_path / "endless.py").write_text(ENDLESS)
    with subprocess.Popen([sys.executable, str(tmp_path / "endless.py"), str(tmp_path)]) as process:
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
