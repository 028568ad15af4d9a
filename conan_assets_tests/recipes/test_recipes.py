"""Both papers' profiles, from the hub's layouts to a release: their own files, smaller and with few steps."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from sentence_transformers import SentenceTransformer

from conan_assets.artifacts import ArtifactStore
from conan_assets.evaluation.settings import MtebSuite
from conan_assets.evaluation.suites import suite_tasks
from conan_assets.settings import Settings
from conan_assets.settings.shipped import PROFILES
from conan_assets_tests.defs.conftest import run, table
from conan_assets_tests.evaluation.test_whole_benchmarks import write_benchmark
from conan_assets_tests.recipes import hub_mirror

pytestmark = pytest.mark.slow

NOTHING = pl.DataFrame()


def stand_in(profile: str, mirror: Path, home: Path, sizes: dict[str, Any]) -> Settings:
    """Return a shipped profile on the mirror; ``sizes`` are merged into its sections, nothing else is changed."""
    values: Any = hub_mirror.pointed_at(yaml.safe_load((PROFILES / f"{profile}.yaml").read_text()), mirror)
    return Settings.model_validate({**merged(values, sizes), "home": str(home)})


def merged(values: Any, sizes: Any) -> Any:
    """Return ``values`` with those of ``sizes`` in their places; in a list, in each of its parts."""
    if isinstance(values, list) and isinstance(sizes, dict):
        return [merged(value, sizes) for value in values]
    if not isinstance(values, dict):
        return sizes
    return {**values, **{key: merged(values.get(key), smaller) for key, smaller in sizes.items()}}


def write_benchmark_tasks(name: str, mirror: Path) -> None:
    suite = MtebSuite(kind="mteb", benchmark=name)
    write_benchmark(suite_tasks({"all": suite}, NOTHING, NOTHING), mirror / "benchmarks")


def report(settings: Settings, key: str) -> dict[str, Any]:
    return ArtifactStore(settings.home / "assets").current(key).report


def require_whole(settings: Settings) -> None:
    """Assert that every round mined, trained and was measured, and that the release pads and encodes."""
    for number in range(1, settings.rounds + 1):
        assert report(settings, f"round_{number}/hard_negatives")["kept"] > 0
        assert report(settings, f"round_{number}/checkpoint")["steps"] > 0
    (name,) = settings.suites
    measured = report(settings, f"round_{settings.rounds}/{name}_report")
    assert not measured["not_run"]
    assert all(np.isfinite(row["value"]) for row in measured["rows"])
    released = SentenceTransformer(str(settings.home / "released_model"), device="cpu")
    vectors = released.encode(["short", "a text that is longer than the other one"])
    assert np.isfinite(vectors).all()


def test_conan_zh_runs_from_the_hubs_layouts_to_a_release(tmp_path: Path):
    mirror = tmp_path / "mirror"
    hub_mirror.write_bert(mirror / "bert", seed=0)
    for name in ("bge-large-zh", "bge-large-zh-v1.5"):
        (mirror / "models/BAAI").mkdir(parents=True, exist_ok=True)
        (mirror / "models/BAAI" / name).symlink_to(mirror / "bert" / "model")
    hub_mirror.chinese_data(mirror / "datasets")
    write_benchmark_tasks("C-MTEB", mirror)
    few = {"max_steps": 2, "retrieval_batch_size": 4}
    held_out = {"train": {"split": "train[8:]"}, "dev": {"split": "train[:8]"}}
    sizes = {
        "sources": {"t2ranking": {"tables": held_out}},
        "pretraining": {**few, "matryoshka_dims": [256, 1792]},
        "training": {**few, "sts_batch_size": 4, "max_steps": 4, "matryoshka_dims": [256, 1792]},
    }
    settings = stand_in("conan_zh", mirror, tmp_path / "home", sizes)
    run(settings)
    require_whole(settings)
    assert set(table(settings, "training_pairs")["task"]) == {"retrieval", "sts", "classification"}
    released = SentenceTransformer(str(settings.home / "released_model"), device="cpu")
    assert released.get_embedding_dimension() == 1792


def test_nv_retriever_en_runs_from_the_hubs_layouts_to_a_release(tmp_path: Path):
    mirror = tmp_path / "mirror"
    hub_mirror.write_mistral(mirror / "models/mistralai/Mistral-7B-v0.1", seed=0)
    hub_mirror.write_mistral(mirror / "models/intfloat/e5-mistral-7b-instruct", seed=1)
    hub_mirror.english_data(mirror / "datasets")
    write_benchmark_tasks("BEIR", mirror)
    few = {"max_steps": 2, "retrieval_batch_size": 4, "warmup_steps": 1}
    settings = stand_in("nv_retriever_en", mirror, tmp_path / "home", {"training": few})
    run(settings)
    require_whole(settings)
    trained = report(settings, "round_1/checkpoint")
    assert trained["retrieval_samples"] > 0
    assert trained["sts_samples"] > 0
