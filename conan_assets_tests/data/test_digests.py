"""Files are read once: their digests are remembered while they stay as they are."""

import os
import time
from pathlib import Path

import pytest

from conan_assets.artifacts import fingerprint_file
from conan_assets.data import digests
from conan_assets.data.digests import remembered_digests
from conan_assets.data.settings import BeirSource, HubStsSource, PairsSource
from conan_assets.data.sources import source_fingerprint
from conan_assets.integrity import seal, unseal

MARK = "what was remembered"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file whose digest is remembered, with a mark in place of it that tells whether the file was read."""
    monkeypatch.setattr(digests, "SECONDS_TO_SETTLE", 0.05)
    path = settled(tmp_path / "corpus.jsonl")
    assert digest_of(path) == fingerprint_file(path)
    ((place, (state, _)),) = unseal(memory(path)).items()
    memory(path).write_text(seal({place: [state, MARK]}))
    return path


def settled(path: Path) -> Path:
    """Write a file and let so much time pass that it is remembered."""
    path.write_text("one")
    time.sleep(0.1)
    return path


def memory(path: Path) -> Path:
    return path.with_name("home") / "digests.json"


def digest_of(path: Path) -> str:
    with remembered_digests(memory(path)) as digest:
        return digest(path)


def test_a_file_that_stays_as_it_is_is_not_read_again(file: Path):
    assert digest_of(file) == MARK


def test_a_change_of_the_same_size_is_read_even_where_the_time_of_the_change_is_set_back(file: Path):
    before = file.stat()
    file.write_text("two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert digest_of(file) == fingerprint_file(file)


def test_a_file_that_is_replaced_is_read(file: Path):
    before = file.stat()
    other = file.with_name("other")
    other.write_text("two")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(file)
    assert digest_of(file) == fingerprint_file(file)


@pytest.mark.parametrize("damage", ['{"half', "[]", '{"/corpus.jsonl": 1}', "null", seal({"/corpus.jsonl": 1})])
def test_without_the_memory_or_with_a_damaged_one_files_are_read_and_remembered_again(damage: str, file: Path):
    intact = unseal(memory(file))
    memory(file).write_text(damage)
    assert digest_of(file) == fingerprint_file(file)
    assert unseal(memory(file)).keys() == intact.keys()
    memory(file).unlink()
    assert digest_of(file) == fingerprint_file(file)


def test_a_file_that_has_just_been_written_is_not_remembered(tmp_path: Path):
    path = tmp_path / "corpus.jsonl"
    path.write_text("one")
    assert digest_of(path) == fingerprint_file(path)
    assert not memory(path).exists()


def test_files_that_are_gone_are_forgotten(file: Path):
    digest_of(settled(file.with_name("queries.jsonl")))
    file.unlink()
    digest_of(settled(file.with_name("train.tsv")))
    assert {Path(place).name for place in unseal(memory(file))} == {"queries.jsonl", "train.tsv"}


def test_what_was_read_before_an_error_is_remembered(file: Path):
    other = settled(file.with_name("queries.jsonl"))
    file.unlink()
    with pytest.raises(FileNotFoundError), remembered_digests(memory(file)) as digest:
        [digest(path) for path in (other, file)]
    assert str(other) in unseal(memory(file))


def test_where_nothing_can_be_written_files_are_read_every_time(file: Path):
    memory(file).unlink()
    memory(file).parent.rmdir()
    memory(file).parent.write_text("a file, where a folder is needed")
    assert digest_of(file) == fingerprint_file(file)


def test_every_kind_of_local_source_is_fingerprinted_by_the_digests_that_are_given(beir_folder: Path, tmp_path: Path):
    pairs, hub = tmp_path / "pairs", tmp_path / "hub"
    for folder in (pairs, hub):
        folder.mkdir()
        (folder / "train.csv").write_text("sentence1,sentence2,score\na,b,1\n")
    sources = [
        BeirSource(kind="beir", path=str(beir_folder)),
        PairsSource(kind="pairs", path=str(pairs)),
        HubStsSource(kind="hub_sts", path=str(hub)),
    ]
    for source in sources:
        read: list[Path] = []

        def digest(path: Path, read: list[Path] = read) -> str:
            read.append(path)
            return fingerprint_file(path)

        assert source_fingerprint("mine", source, digest) == source_fingerprint("mine", source)
        assert read
        assert source_fingerprint("mine", source, lambda path: "other") != source_fingerprint("mine", source)
