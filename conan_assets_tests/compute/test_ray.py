"""Shards that the nodes of a Ray cluster compute: the results of one process, whatever becomes of a node."""

import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from conan_assets.compute import IN_PROCESS, WorkerDiedError, ray_pool
from conan_assets.compute.ray_cluster import WINDOW, RayCluster
from conan_assets.compute.ray_connection import ClusterError, connect
from conan_assets.compute.ray_failures import ShardError
from conan_assets.data import near_duplicates
from conan_assets.encoding import store as store_module
from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.models import ModelNotFoundError, OtherModelError
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.encoding.store import EmbeddingStore, EncodeTexts
from conan_assets.search import cross_encoder
from conan_assets.search import kept as kept_module
from conan_assets.search.cross_encoder import CrossEncoderRetriever
from conan_assets.search.nearest import Nearest
from conan_assets.search.settings import CrossEncoderTeacher, SearchSettings
from conan_assets_tests.compute.clusters import NODE, NotedSquare, kill_node, loopback_cluster, wait_until
from conan_assets_tests.compute.corpus import DOCUMENTS, EXCLUDED, QUERIES, as_bytes
from conan_assets_tests.conftest import build_tiny_model
from conan_assets_tests.data.near_samples import near_texts_found_by

pytestmark = pytest.mark.slow

TEXTS = [f"text number {number} of many" + " and more" * (number % 7) for number in range(200)]


@pytest.fixture(scope="module")
def nodes():
    with loopback_cluster() as cluster:
        cluster.add_node(**NODE)
        yield cluster


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(store_module, "ROWS_PER_SHARD", 16)
    monkeypatch.setattr(cross_encoder, "PAIRS_PER_PART", 16)


class Holder:
    def hold(self) -> None:
        pass


def begun(folder: Path) -> int:
    return len(list(folder.glob("begun-*")))


def test_results_come_in_the_order_of_the_shards_and_a_work_is_loaded_once_by_each_worker(nodes, tmp_path):
    results = RayCluster(nodes.address, 1).map(NotedSquare(tmp_path, seconds=0.02), range(30))
    assert list(results) == [number**2 for number in range(30)]
    assert len(list(tmp_path.glob("loaded-*"))) == 2
    assert begun(tmp_path) == 30


def test_no_more_is_begun_than_the_window_while_nothing_is_taken(nodes, tmp_path):
    results = RayCluster(nodes.address, 1).map(NotedSquare(tmp_path), range(100))
    assert next(results) == 0
    time.sleep(1)
    assert begun(tmp_path) <= 2 * WINDOW
    results.close()


def test_embeddings_and_scores_of_a_cluster_are_those_of_one_process(
    nodes, tmp_path, tiny_model, tiny_cross_encoder, small_shards
):
    encoder = Encoder(EncoderSettings(tiny_model, dtype="float32", max_tokens=24), "cpu")
    cluster = RayCluster(nodes.address, 1)
    alone, spread = EmbeddingStore(tmp_path / "one"), EmbeddingStore(tmp_path / "two", compute=cluster)
    theirs, ours = (store.embed(encoder, TEXTS, "document") for store in (alone, spread))
    assert ours.rows(np.arange(200)).tobytes() == theirs.rows(np.arange(200)).tobytes()
    assert (ours.encoded, ours.cut) == (theirs.encoded, theirs.cut)
    settings = CrossEncoderTeacher(model=tiny_cross_encoder, max_tokens=64, dtype="float32")
    theirs, ours = (
        CrossEncoderRetriever(settings, TEXTS, None, store).score(TEXTS[-3:], np.arange(60) % 3, np.arange(60))
        for store in (alone, spread)
    )
    assert ours.tobytes() == theirs.tobytes()


def test_a_node_killed_in_the_midst_costs_no_shard_and_one_that_joins_takes_part(nodes, tmp_path, caplog):
    doomed = nodes.add_node(**NODE | {"num_cpus": 4})
    results = RayCluster(nodes.address, 1).map(NotedSquare(tmp_path, seconds=0.3), range(80))
    found = []
    while len(list(tmp_path.glob("loaded-*"))) < 6:
        found.append(next(results))
    kill_node(doomed)
    late = nodes.add_node(**NODE)
    found += results
    nodes.remove_node(late)
    assert found == [number**2 for number in range(80)]
    assert "died at shard" in caplog.text
    assert len(list(tmp_path.glob("loaded-*"))) == 7


def test_a_shard_that_kills_three_workers_is_named_with_the_node_and_what_came_before_is_kept(nodes, tmp_path):
    results = RayCluster(nodes.address, 1).map(NotedSquare(tmp_path, deadly=3), range(6))
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    with pytest.raises(WorkerDiedError, match=r"died 3 times at shard 4 of 6, the last one on node .*127\.0\.0\.1"):
        next(results)


def test_an_error_names_the_shard_and_the_node_and_keeps_its_cause(nodes, tmp_path):
    with pytest.raises(ShardError, match=r"shard 2 of 3 failed on node .*ValueError: -1 is below 0") as raised:
        list(RayCluster(nodes.address, 1).map(NotedSquare(tmp_path), [1, -1, 2]))
    assert isinstance(raised.value.__cause__, ValueError)


def test_a_worker_without_the_model_is_named(nodes, tmp_path, small_shards):
    folder = Path(build_tiny_model(tmp_path / "first"))
    store = EmbeddingStore(tmp_path / "store", compute=RayCluster(nodes.address, 1))
    encoder = Encoder(EncoderSettings(str(folder), dtype="float32"), "cpu")
    encoder.namespace("document")
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(ShardError, match=r"on node .*127\.0\.0\.1.* no model folder") as raised:
        store.embed(encoder, TEXTS, "document")
    assert isinstance(raised.value.__cause__, ModelNotFoundError)


def test_a_process_with_another_model_under_the_name_encodes_nothing(tmp_path):
    folder = Path(build_tiny_model(tmp_path / "first"))
    encoder = Encoder(EncoderSettings(str(folder), dtype="float32"), "cpu")
    work = pickle.dumps(EncodeTexts(encoder, "document", encoder.namespace("document")))
    folder.rename(tmp_path / "elsewhere")
    Path(build_tiny_model(tmp_path / "second", seed=1)).rename(folder)
    with pytest.raises(OtherModelError, match="has other weights or prompts here"):
        pickle.loads(work)(TEXTS)


def test_what_does_not_answer_as_a_cluster_is_named_within_seconds(nodes, tmp_path):
    import ray

    ray.shutdown()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        begun_at = time.monotonic()
        with pytest.raises(ClusterError, match=f"no Ray cluster answers at {address}.*ray start"):
            list(RayCluster(address).map(NotedSquare(tmp_path), [1]))
        assert time.monotonic() - begun_at < 30


def test_no_address_and_no_ray_are_named(monkeypatch, tmp_path):
    import ray

    ray.shutdown()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ClusterError, match=r"compute\.address or \$RAY_ADDRESS"):
        list(RayCluster().map(NotedSquare(tmp_path), [1]))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r"pip install 'conan-assets\[ray\]'"):
        list(RayCluster().map(NotedSquare(tmp_path), [1]))


def test_a_cluster_whose_cores_others_hold_is_waited_for_with_a_word(nodes, tmp_path, monkeypatch, caplog):
    import ray

    ray.shutdown()
    connect(nodes.address)
    wait_until(lambda: sum(node["Alive"] for node in ray.nodes()) == 2)
    holders = [ray.remote(Holder).options(num_cpus=1).remote() for _ in range(2)]
    ray.get([holder.hold.remote() for holder in holders])
    wait_until(lambda: not ray.available_resources().get("CPU"))
    monkeypatch.setattr(ray_pool, "SECONDS_OF_WAITING_IN_SILENCE", 1.0)

    def release() -> None:
        try:
            wait_until(lambda: "no worker has started" in caplog.text)
            time.sleep(2 * ray_pool.SECONDS_BETWEEN_LOOKS)
        finally:
            for holder in holders:
                ray.kill(holder)

    releaser = threading.Thread(target=release)
    releaser.start()
    assert list(RayCluster(nodes.address, 1).map(NotedSquare(tmp_path), range(4))) == [0, 1, 4, 9]
    releaser.join()
    (said,) = [record.getMessage() for record in caplog.records if "no worker has started" in record.getMessage()]
    assert said.count("1 x 1 CPU on node ") == 2
    assert "free in all are 0 CPU" in said
    assert "`ray status`" in said


OTHER = """
import sys
import ray
{}
from conan_assets.compute.ray_cluster import RayCluster
list(RayCluster(sys.argv[1]).map(abs, [1]))
"""


@pytest.mark.parametrize(
    ("change", "environment", "told"),
    [
        pytest.param("ray.__version__ = '2.50.0'", {}, "Ray: 2.50.0", id="another version of Ray"),
        pytest.param("", {"RAY_AUTH_TOKEN": "another-token-that-is-long-enough-too"}, "token", id="another token"),
    ],
)
def test_a_cluster_that_refuses_this_process_is_named(nodes, change, environment, told):
    command = [sys.executable, "-c", OTHER.format(change), nodes.address]
    ended = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
    last = ended.stderr[ended.stderr.index("ClusterError: the Ray cluster at") :]
    assert f"{nodes.address} refuses this process" in last
    assert told in last


def test_the_nodes_find_the_near_duplicates_that_one_process_finds(nodes, monkeypatch):
    monkeypatch.setattr(near_duplicates, "SHARD_BYTES", 2_000)
    assert near_texts_found_by(RayCluster(nodes.address, 1)) == near_texts_found_by(IN_PROCESS)


@pytest.fixture
def documents(monkeypatch):
    monkeypatch.setattr(kept_module, "DOCUMENTS_PER_SHARD", 512)
    return DOCUMENTS


def test_what_the_holders_of_a_corpus_find_is_what_one_process_finds_also_when_one_is_killed(nodes, documents):
    doomed = nodes.add_node(**NODE)
    cluster = RayCluster(nodes.address, 1)
    for screening in ("none", "bfloat16"):
        settings = SearchSettings(screening=screening)
        expected, _ = Nearest(settings, documents).find(QUERIES, 20, EXCLUDED)
        spread = Nearest(settings, documents, cluster)
        found, recall = spread.find(QUERIES, 20, EXCLUDED)
        assert as_bytes(found) == as_bytes(expected)
        assert recall is None
    kill_node(doomed)
    assert as_bytes(spread.find(QUERIES, 20, EXCLUDED)[0]) == as_bytes(expected)


def test_an_index_for_each_shard_tells_its_recall_and_warns_below_the_bar(nodes, documents, caplog):
    cluster = RayCluster(nodes.address, 1)
    exact, _ = Nearest(SearchSettings(), documents).find(QUERIES, 20, EXCLUDED)
    for index, parameters, is_near in (("Flat", "", True), ("IVF16,Flat", "nprobe=1", False)):
        settings = SearchSettings(index=index, index_parameters=parameters, index_above=2_000)
        found, recall = Nearest(settings, documents, cluster).find(QUERIES, 20, EXCLUDED)
        assert (recall == 1) == is_near
        assert (as_bytes(found)[0] == as_bytes(exact)[0]) == is_near
    assert "below min_recall, 0.98" in caplog.text
    few = SearchSettings(index="IVF16,Flat", index_above=2_500)
    assert Nearest(few, documents, cluster).find(QUERIES, 20, EXCLUDED)[1] is None
