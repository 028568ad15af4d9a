"""Folders behind a URL, read through fsspec: here its file system in memory."""

from pathlib import Path

import fsspec
import pytest
from fsspec import AbstractFileSystem
from upath import UPath

from conan_assets.data.settings import BeirSource, PairsSource
from conan_assets.data.sources import load_source, source_fingerprint
from conan_assets.data.tables import TableError


@pytest.fixture
def remote(beir_folder: Path) -> UPath:
    """The folder in BEIR layout of the other tests, copied to the file system in memory."""
    root = UPath("memory://bucket/mine")
    for file in beir_folder.rglob("*.*"):
        (root / file.relative_to(beir_folder).as_posix()).parent.mkdir(parents=True, exist_ok=True)
        (root / file.relative_to(beir_folder).as_posix()).write_bytes(file.read_bytes())
    yield root
    root.fs.rm(root.path, recursive=True)


def test_a_remote_folder_gives_the_same_tables_as_a_local_one(remote, beir_folder):
    here = load_source("mine", BeirSource(kind="beir", path=beir_folder))
    there = load_source("mine", BeirSource(kind="beir", path=str(remote)))
    assert all(one.equals(other) for one, other in zip(here, there, strict=True))


def test_the_fingerprint_follows_a_remote_file(remote):
    settings = BeirSource(kind="beir", path=str(remote))
    before = source_fingerprint("mine", settings)
    assert source_fingerprint("mine", settings) == before
    (remote / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nc\t3\t1\n")
    assert source_fingerprint("mine", settings) != before


def test_a_damaged_remote_file_is_named(remote):
    (remote / "corpus.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(TableError, match=r"memory://bucket/mine/corpus\.parquet is not readable Parquet"):
        load_source("mine", BeirSource(kind="beir", path=str(remote)))


def test_a_broken_line_of_remote_jsonl_is_named(remote):
    (remote / "train.jsonl").write_text('{"query": "a", "positive": "b"}\n{"query": \n')
    with pytest.raises(TableError, match=r"memory://bucket/mine/train\.jsonl: line 2 is not JSON"):
        load_source("mine", PairsSource(kind="pairs", path=str(remote)))


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("memory://bucket/nothing", r"source x: there is no folder memory://bucket/nothing; correct sources\.x\.path"),
        ("nosuch://bucket/mine", r"source x: nosuch://bucket/mine cannot be opened .*sources\.x\.path"),
    ],
)
def test_a_folder_that_cannot_be_reached_is_named(location, message):
    with pytest.raises(TableError, match=message):
        load_source("x", PairsSource(kind="pairs", path=location))


class Listed(AbstractFileSystem):
    """A local folder as a store that remembers its listings, as those of s3:// and gs:// do."""

    protocol = "listed"

    def ls(self, path: str, detail: bool = True, **_: object) -> list:
        path = self._strip_protocol(path)
        if path not in self.dircache:
            self.dircache[path] = [self._entry(file) for file in Path(path).iterdir()]
        return self.dircache[path] if detail else [entry["name"] for entry in self.dircache[path]]

    def invalidate_cache(self, path: str | None = None) -> None:
        self.dircache.clear()

    def _entry(self, file: Path) -> dict[str, object]:
        kind, status = "directory" if file.is_dir() else "file", file.stat()
        return {"name": str(file), "type": kind, "size": status.st_size, "etag": status.st_mtime_ns}


@pytest.mark.filterwarnings("ignore:UPath 'listed' filesystem not explicitly implemented")
def test_a_change_in_a_store_that_remembers_its_listings_is_seen_by_the_same_process(beir_folder):
    fsspec.register_implementation("listed", Listed, clobber=True)
    settings = BeirSource(kind="beir", path=f"listed://{beir_folder}")
    before = source_fingerprint("mine", settings)
    assert source_fingerprint("mine", settings) == before
    (beir_folder / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nc\t3\t1\n")
    changed = source_fingerprint("mine", settings)
    assert changed != before
    (beir_folder / "qrels" / "dev.tsv").unlink()
    assert source_fingerprint("mine", settings) != changed
