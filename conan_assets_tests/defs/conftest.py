"""A whole programme in miniature: a BEIR folder, a tiny model, two rounds of a few steps."""

import contextlib
import gc
import json
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from conan_assets.artifacts import MANIFEST, ArtifactStore
from conan_assets.definitions import build_defs
from conan_assets.integrity import digest_parts, seal
from conan_assets.settings import Settings

ANIMALS = ["cat", "dog", "owl", "fox", "cow", "bee", "ant", "eel"]
LEARNS = {"max_steps": 30, "learning_rate": 3e-3, "epochs": 10, "warmup_ratio": 0.0}
"""Settings of training that make more of the tiny random model than it was."""
PLACES = ["barn", "pond", "tree", "cave", "farm", "moor", "reef", "dune"]


def write_beir_folder(folder: Path, seed: int = 0) -> None:
    """Write 64 documents and a query for each: 40 to train on, 8 for dev, 16 for test."""
    drawn = random.Random(seed)
    (folder / "qrels").mkdir(parents=True)
    documents, queries, judgements = [], [], []
    for number in range(64):
        animal, place = ANIMALS[number // 8], PLACES[number % 8]
        words = " ".join(drawn.choice(["it", "sleeps", "eats", "runs", "hides", "sings"]) for _ in range(6))
        documents.append({"_id": str(number), "title": f"{animal} in the {place}", "text": f"The {animal} {words}."})
        queries.append({"_id": f"q{number}", "text": f"which {animal} lives at the {place}, number {number}?"})
        judgements.append((f"q{number}", str(number)))
    for name, rows in (("corpus", documents), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    drawn.shuffle(judgements)
    for split, rows in (("train", judgements[:40]), ("dev", judgements[40:48]), ("test", judgements[48:])):
        lines = ["query-id\tcorpus-id\tscore", *(f"{query}\t{document}\t1" for query, document in rows)]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n")


def programme(folder: Path, model: str, home: Path, **changes: object) -> Settings:
    """Return a two-round programme over the folder with the tiny model."""
    values = {
        "name": "miniature",
        "sources": {"animals": {"kind": "beir", "path": str(folder)}},
        "base_model": {"model": model, "dtype": "float32"},
        "teachers": {
            "bm25": {"kind": "bm25"},
            "tiny": {"kind": "bi_encoder", "encoder": {"model": model, "dtype": "float32"}},
        },
        "generation": {"kind": "extractive", "max_pairs": 10},
        "curation": {},
        "rounds": 2,
        "mining": {
            "candidates": ["student", "bm25"],
            "depth": 20,
            "veto": [{"rule": "top_k_perc_pos", "teacher": "tiny", "ratio": 0.999}],
            "negatives_per_query": 2,
            "pool_depth": 10,
        },
        "training": {
            "epochs": 1,
            "max_steps": 3,
            "retrieval_batch_size": 4,
            "negatives_per_query": 2,
            "dtype": "float32",
        },
        "suites": {"beir": {"animals": {"kind": "local", "dataset": "animals", "splits": ["dev", "test"]}}},
        "dev_metric": {"suite": "animals", "split": "dev"},
        "home": str(home),
        **changes,
    }
    return Settings.model_validate(values)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> Settings:
    """Return a programme of one round that has run to its end, for tests that only look at it."""
    folder = tmp_path_factory.mktemp("finished")
    write_beir_folder(folder / "animals")
    settings = programme(folder / "animals", tiny_model, folder / "home", rounds=1)
    assert run(settings).success
    return settings


@pytest.fixture
def copied(finished: Settings, tmp_path: Path) -> Settings:
    """Return the finished programme in a home that a test may change."""
    shutil.copytree(finished.home, tmp_path / "home", symlinks=True)
    return finished.model_copy(update={"home": tmp_path / "home"})


@pytest.fixture
def miniature(tmp_path: Path, tiny_model: str) -> Settings:
    """Return a programme whose data and storage lie in the test's own folder."""
    write_beir_folder(tmp_path / "animals")
    return programme(tmp_path / "animals", tiny_model, tmp_path / "home")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small file system needs the right to mount one: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@contextlib.contextmanager
def changing(settings: Settings, key: str) -> Iterator[Path]:
    """Yield the folder of an asset's current version; what is changed there is sealed again, as if it was made so."""
    folder = ArtifactStore(settings.home / "assets").current(key).path
    yield folder
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest.pop("digest")
    parts = {name: digest for name, digest in digest_parts(folder).items() if name != MANIFEST}
    (folder / MANIFEST).write_text(seal({**manifest, "parts": parts}))


def change_report(settings: Settings, key: str, **changes: object) -> None:
    """Make an asset's build have reported something else."""
    with changing(settings, key) as folder:
        manifest = json.loads((folder / MANIFEST).read_text())
        manifest["report"] |= changes
        (folder / MANIFEST).write_text(json.dumps(manifest))


def run(
    settings: Settings, selection: str = "*", raise_on_error: bool = True, instance: dg.DagsterInstance | None = None
) -> dg.ExecuteInProcessResult:
    """Materialize the selected assets in this process, on an instance of its own if none is given."""
    job = build_defs(settings).resolve_implicit_global_asset_job_def()
    keys = dg.AssetSelection.from_string(selection).resolve(build_defs(settings).resolve_asset_graph())
    gc.freeze()  # each asset collects garbage, among all that other tests have imported
    with contextlib.nullcontext(instance) if instance else dg.DagsterInstance.ephemeral() as used:
        return job.execute_in_process(instance=used, asset_selection=list(keys), raise_on_error=raise_on_error)


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, object]]:
    """Return the metadata of every asset that a run materialized."""
    events = result.get_asset_materialization_events()
    return {event.asset_key.to_user_string(): dict(event.materialization.metadata) for event in events}


def table(settings: Settings, key: str) -> pl.DataFrame:
    """Return the current table of an asset."""
    return pl.read_parquet(ArtifactStore(settings.home / "assets").current(key).path / "table.parquet")
