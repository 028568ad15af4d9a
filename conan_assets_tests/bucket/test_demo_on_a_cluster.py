"""The demo with its home in a bucket and its work on two nodes of a Ray cluster; one is killed in the midst."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from conan_assets.artifacts import ArtifactStore
from conan_assets.encoding import store as stores
from conan_assets.settings import Settings, load_settings
from conan_assets.settings.shipped import PROFILES
from conan_assets_tests.compute.clusters import NODE, kill_node, loopback_cluster, wait_until
from conan_assets_tests.defs.conftest import run

pytestmark = pytest.mark.slow

STEPS = 3
SECONDS_TO_BEGIN = 240


@pytest.fixture
def nodes() -> Iterator[Any]:
    with loopback_cluster() as cluster:
        yield cluster


def demo(folder: Path, home: str, compute: dict[str, object]) -> Settings:
    """Return the demo's profile with fewer steps."""
    values = yaml.safe_load((PROFILES / "demo.yaml").read_text(encoding="utf-8"))
    values |= {"home": home, "compute": compute, "training": values["training"] | {"max_steps": STEPS}}
    path = folder / "profile.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return load_settings(str(path), environment={})


def versions(settings: Settings) -> dict[str, tuple[str, str]]:
    """Return the fingerprint and the content of every asset."""
    store = ArtifactStore(settings.root / "assets")
    keys = sorted(path.parent.relative_to(store.root).as_posix() for path in store.root.rglob("current"))
    return {key: (store.current(key).fingerprint, store.current(key).content) for key in keys}


def parts_in(settings: Settings) -> int:
    """Return how many parts of embeddings are stored."""
    return sum(len(path.read_bytes().splitlines()) for path in settings.root.glob("embeddings/*/parts"))


def test_the_demo_on_a_cluster_and_in_a_bucket_is_the_demo_in_one_process(
    nodes, address, machine, tmp_path, monkeypatch
):
    monkeypatch.setattr(stores, "ROWS_PER_SHARD", 64)
    alone = demo(tmp_path, str(tmp_path / "home"), {"kind": "in_process"})
    assert run(alone).success
    doomed = nodes.add_node(**NODE)
    spread = demo(tmp_path, address, {"kind": "ray", "address": nodes.address, "cpus_per_worker": 1})
    killed = threading.Event()

    def kill_in_the_midst() -> None:
        wait_until(lambda: parts_in(spread) >= 2, SECONDS_TO_BEGIN)
        kill_node(doomed)
        killed.set()

    killer = threading.Thread(target=kill_in_the_midst)
    killer.start()
    assert run(spread).success
    killer.join()
    assert killed.is_set()
    assert versions(spread) == versions(alone)
    assert "released_model" in versions(spread)
    name = "round_1/hard_negatives"
    here, there = (ArtifactStore(each.root / "assets").current(name).path / "table.parquet" for each in (alone, spread))
    assert here.read_bytes() == there.read_bytes()
    machine("second")
    assert run(spread).success
    assert versions(spread) == versions(alone)
