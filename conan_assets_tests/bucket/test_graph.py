"""The miniature programme with its home in a bucket, on one machine and on another after it."""

import os
import threading
import time
from pathlib import Path

import dagster as dg
import pytest

from conan_assets.artifacts import LOCK
from conan_assets.bucket import lease, objects
from conan_assets.bucket.lease import HeldError
from conan_assets.bucket.versions import WRITER
from conan_assets.bucket.working_copy import MARK, WorkingCopy, open_home, working_copy_of
from conan_assets.files import files_of
from conan_assets.integrity import digest_parts
from conan_assets.look.home import Home
from conan_assets.manifest import MANIFEST
from conan_assets.settings import Settings
from conan_assets.verification import verify
from conan_assets_tests.bucket.conftest import SECRET, Proxy, environment
from conan_assets_tests.defs.conftest import metadata, programme, run, write_beir_folder
from conan_assets_tests.forked import fork, kill

pytestmark = pytest.mark.slow

OF_A_MACHINE = (MARK, "embeddings", "locks", "runs")


@pytest.fixture
def miniature(address: str, machine, tmp_path: Path, tiny_model: str) -> Settings:
    """Return a programme of one round whose storage lies in the bucket."""
    write_beir_folder(tmp_path / "animals")
    return programme(tmp_path / "animals", tiny_model, address, rounds=1)


def test_another_machine_goes_on_where_one_ended_and_makes_nothing_again(miniature, machine):
    first = run(miniature)
    home = miniature.root
    copy = working_copy_of(home)
    kept = {name: copy.bucket.get(name).content for name in copy.bucket.list("")}
    finished = [path for path in files_of(home) if path.relative_to(home).parts[0] not in OF_A_MACHINE]
    assert {copy.object_of(path) for path in finished if path.name != LOCK} - {*kept} == set()
    assert kept["released_model"].decode() == (home / "released_model").resolve().name
    assert not [name for name, content in kept.items() if SECRET.encode() in content]
    machine("second")
    second = run(miniature)
    assert miniature.root != home
    assert {key: made["reused"].value for key, made in metadata(second).items()} == dict.fromkeys(metadata(first), True)
    assert digest_parts(miniature.root / "released_model") == digest_parts(home / "released_model") != {}
    assert (miniature.root / "released_model").is_symlink()
    machine("third")
    assert Home(miniature).table("round_1/hard_negatives").collect().height
    assert list(Home(miniature).rounds("beir_report", MANIFEST)) == [0, 1]


def test_a_connection_that_comes_and_goes_disturbs_no_run(miniature, proxy, monkeypatch):
    monkeypatch.setattr(objects, "SECONDS_TO_RETRY", 60)
    ended = threading.Event()
    flicker = threading.Thread(target=cut_now_and_then, args=(proxy, ended))
    flicker.start()
    try:
        assert run(miniature).success
    finally:
        ended.set()
        flicker.join()
    copy = working_copy_of(miniature.root)
    assert copy.bucket.get("released_model").content.decode() == (miniature.root / "released_model").resolve().name
    assert list(verify(miniature.root)) == []


def cut_now_and_then(proxy: Proxy, ended: threading.Event) -> None:
    while not ended.wait(0.4):
        proxy.cut()
        time.sleep(0.1)
        proxy.mend()


def test_the_home_of_another_programme_is_refused_on_any_machine(miniature, machine):
    run(miniature, "key:raw_corpus")
    machine("second")
    other = {"animals": {"kind": "beir", "path": miniature.sources["animals"].path, "weight": 2.0}}
    another = programme(Path(), miniature.base_model.model, miniature.home, name="another", sources=other)
    with pytest.raises(dg.DagsterError) as caught:
        run(another, "key:raw_corpus")
    told = str(caught.value.__cause__)
    assert "s3://programmes/home belongs to the programme 'miniature', not to 'another'" in told


LONG = {"training": {"epochs": 200, "max_steps": 60, "retrieval_batch_size": 4, "save_every_minutes": 0.0}}
UP_TO_THE_CHECKPOINT = '+key:"round_1/checkpoint"'


def has_state(copy: WorkingCopy) -> bool:
    return any(name.endswith(f"/{WRITER}") for name in copy.bucket.list("assets/round_1/checkpoint"))


def test_training_goes_on_elsewhere_from_the_last_state_of_a_machine_that_was_killed_to_the_same_weights(
    miniature, machine, proxy, tmp_path, monkeypatch
):
    settings = programme(tmp_path / "animals", miniature.base_model.model, miniature.home, rounds=1, **LONG)
    home = {**environment(proxy.port), "CONAN_CACHE": os.environ["CONAN_CACHE"]}
    process = fork(tmp_path / "log", run, settings, UP_TO_THE_CHECKPOINT, **home)
    copy = working_copy_of(open_home(settings.home))
    while not has_state(copy):
        assert process.is_alive(), (tmp_path / "log").read_text()
        time.sleep(0.05)
    kill(process)
    machine("second")
    with pytest.raises(HeldError, match="another run is materializing round_1/checkpoint under s3://programmes/home"):
        run(settings, UP_TO_THE_CHECKPOINT)
    monkeypatch.setattr(lease, "SECONDS_OF_A_LEASE", 1)
    time.sleep(2)
    made = metadata(run(settings, UP_TO_THE_CHECKPOINT))
    assert made["raw_corpus"]["reused"].value is True
    checkpoint = made["round_1/checkpoint"]
    assert checkpoint["resumed_from_step"].value > 0
    assert checkpoint["steps"].value == 60
    undisturbed = settings.model_copy(update={"home": tmp_path / "home"})
    expected = metadata(run(undisturbed, UP_TO_THE_CHECKPOINT))["round_1/checkpoint"]
    assert expected["fingerprint"] == checkpoint["fingerprint"]
    assert weights_of(undisturbed.root) == weights_of(settings.root)
    assert not [name for name in copy.bucket.list("assets") if ".partial/" in name]


def weights_of(home: Path) -> bytes:
    (weights,) = (home / "assets" / "round_1" / "checkpoint").glob("*/model/model.safetensors")
    return weights.read_bytes()
