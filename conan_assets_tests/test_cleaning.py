"""What is deleted from a storage root, and what never is."""

import errno
import os
import time
from pathlib import Path

import pytest

from conan_assets.artifacts import ArtifactStore
from conan_assets.cleaning import clean_storage, mark_as_read
from conan_assets.files import ArtifactError, remove_leftovers, temporary_path

NOBODY = 2**22 + 1
DAY = 24 * 3600


def folder(path: Path, days_old: float) -> Path:
    path.mkdir(parents=True)
    (path / "file").write_text("x")
    os.utime(path, (time.time() - days_old * DAY,) * 2)
    return path


def test_the_oldest_releases_go_but_never_the_one_in_use(tmp_path: Path):
    for number in range(5):
        folder(tmp_path / "releases" / f"release{number}", days_old=10 - number)
    (tmp_path / "released_model").symlink_to("releases/release0")
    clean_storage(tmp_path, keep_releases=2, keep_embeddings_days=30)
    assert {path.name for path in (tmp_path / "releases").iterdir()} == {"release0", "release3", "release4"}


def test_half_written_releases_go_and_take_no_place_of_a_finished_one(tmp_path: Path):
    for number, name in enumerate(("old", "kept", "broken.partial", "newer.partial")):
        folder(tmp_path / "releases" / name, days_old=10 - number)
    clean_storage(tmp_path, keep_releases=1, keep_embeddings_days=30)
    assert {path.name for path in (tmp_path / "releases").iterdir()} == {"kept"}


def test_embeddings_go_when_nobody_has_read_them_for_long(tmp_path: Path):
    for name, days in (("read", 40), ("unread", 40), ("new", 1)):
        folder(tmp_path / "embeddings" / name, days)
    mark_as_read(tmp_path / "embeddings" / "read")
    clean_storage(tmp_path, keep_releases=1, keep_embeddings_days=30)
    assert {path.name for path in (tmp_path / "embeddings").iterdir()} == {"read", "new"}


def test_cleaning_an_empty_root_does_nothing(tmp_path: Path):
    clean_storage(tmp_path / "home", keep_releases=1, keep_embeddings_days=1)
    mark_as_read(tmp_path / "home" / "embeddings")
    assert not (tmp_path / "home").exists()


def test_the_temporary_file_of_a_killed_process_goes_and_that_of_a_living_one_stays(tmp_path: Path):
    ours = temporary_path(tmp_path / "table")
    killed = tmp_path / ours.name.replace(f".{os.getpid()}@", f".{NOBODY}@")
    elsewhere = tmp_path / f".table.{os.getpid()}@another-host.tmp"
    forgotten = tmp_path / f".old.{os.getpid()}@another-host.tmp"
    not_ours = tmp_path / ".something.tmp"
    for path in (ours, killed, elsewhere, forgotten, not_ours):
        path.write_text("half")
    os.utime(forgotten, (time.time() - 2 * DAY,) * 2)
    assert remove_leftovers(tmp_path) == 2
    assert set(tmp_path.iterdir()) == {ours, elsewhere, not_ours}


def test_a_version_that_is_made_current_leaves_no_temporary_file_of_an_earlier_attempt(tmp_path: Path):
    store = ArtifactStore(tmp_path)
    with store.building("key", "version") as directory:
        (directory / temporary_path(directory / "table").name.replace(f"{os.getpid()}@", f"{NOBODY}@")).write_text("")
        artifact = store.finish("key", "version", {})
    assert [path.name for path in artifact.path.iterdir()] == ["manifest.json"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_named_with_the_way_out_and_what_was_built_stays(tmp_path: Path):
    store = ArtifactStore(tmp_path)
    full = pytest.raises(ArtifactError, match=r"the disk is full: key .* below .*free some space there, then run again")
    with full, store.building("key", "version") as directory:
        (directory / "part").write_text("done")
        Path("/dev/full").write_text("more")
    with store.building("key", "version") as directory:
        assert (directory / "part").read_text() == "done"


def test_a_full_disk_elsewhere_is_named_by_the_file_that_did_not_fit(tmp_path: Path):
    store = ArtifactStore(tmp_path / "home")
    named = pytest.raises(ArtifactError, match=r"key could not be written; free some space for /elsewhere/model\.bin")
    with named, store.building("key", "version"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/elsewhere/model.bin")


def test_another_error_of_a_build_is_not_taken_for_a_full_disk(tmp_path: Path):
    store = ArtifactStore(tmp_path)
    with pytest.raises(PermissionError), store.building("key", "version"):
        raise PermissionError("no")
