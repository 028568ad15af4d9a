"""What the assets share: where finished outputs and embeddings lie, for one programme and one run."""

import fcntl
import shutil
import time
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
from pydantic import Field, PrivateAttr, TypeAdapter

from conan_assets.artifacts import Artifact, ArtifactStore
from conan_assets.bucket.address import local_folder
from conan_assets.bucket.objects import Found
from conan_assets.bucket.release import bring_release, take_up_release
from conan_assets.bucket.working_copy import open_home, working_copy_of
from conan_assets.cleaning import EMBEDDINGS, LAST_PUBLISHED, POINTER, RELEASES, TABLE
from conan_assets.compute import IN_PROCESS, Compute
from conan_assets.compute.devices import Devices
from conan_assets.compute.ray_cluster import RayCluster
from conan_assets.encoding.store import EmbeddingStore
from conan_assets.files import ArtifactError, atomic_path
from conan_assets.integrity import DamagedError, seal, unseal_bytes
from conan_assets.settings.sections import DevicesCompute, RayCompute, Spread

RUNS = "runs"
OWNER = "programme.json"
OWNER_LOCK = ".lock"
SECONDS_OF_AN_UNKNOWN_RUN = 2 * 24 * 3600
"""How long the notes of a run stay that another instance of Dagster executes."""


class Storage(dg.ConfigurableResource[None]):
    """The storage root of a programme: everything the graph writes lies below it.

    A run reads the versions that it made, reused or read first; what other runs make meanwhile does not reach it.
    """

    home: str
    programme: str = ""
    sources: str = ""
    keep_versions: int = 3
    stages_on_gpu: int = 1
    compute: dict[str, Any] = Field(default_factory=dict)
    _run: str = PrivateAttr(default="")
    _embeddings: EmbeddingStore | None = PrivateAttr(default=None)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Know the run, and refuse a home that is a bucket nobody can write to, or belongs to another programme."""
        open_home(self.home)
        take_up_release(self.root / POINTER, self.root / RELEASES / LAST_PUBLISHED)
        if context.run is None or context.instance is None:
            return
        self._run = context.run.root_run_id or context.run.run_id
        self._embeddings = None
        _claim(self.root, {"programme": self.programme, "sources": self.sources})
        _forget_finished_runs(self.root / RUNS, context.instance, self._run)

    @property
    def root(self) -> Path:
        """The root on this machine: the home, or the working copy of its bucket."""
        return local_folder(self.home)

    @property
    def artifacts(self) -> ArtifactStore:
        """The finished outputs of the assets, as this run sees them."""
        run = self.root / RUNS / self._run if self._run else None
        return ArtifactStore(self.root / "assets", self.keep_versions, run)

    def current(self, key: dg.AssetKey) -> Artifact:
        """Return the current version of an asset; raise ArtifactError if it was never materialized or is damaged."""
        return self.artifacts.require_intact(self.artifacts.current(key.to_user_string()))

    def table(self, key: dg.AssetKey) -> pl.LazyFrame:
        """Scan the current version of an asset's table; raise ArtifactError as :meth:`current` does."""
        return pl.scan_parquet(self.current(key).path / TABLE)

    @property
    def release(self) -> Path | None:
        """The folder of the release in use, None before the first one; raise ArtifactError if it is no link to one."""
        pointer = self.root / POINTER
        if pointer.exists() and not pointer.is_symlink():
            raise ArtifactError(f"{pointer} is not a link to a release: move it away, then run again")
        return pointer.resolve() if pointer.exists() else None

    def release_of(self, fingerprint: str) -> Path:
        """Return the folder of a release, also of an earlier one; it is there if it was made and not deleted."""
        return bring_release(self.root / RELEASES / fingerprint)

    @property
    def embeddings(self) -> EmbeddingStore:
        """The embeddings of every encoder, each index loaded once in a run."""
        self._embeddings = self._embeddings or EmbeddingStore(self.root / EMBEDDINGS, compute=self.spread)
        return self._embeddings

    @property
    def spread(self) -> Compute:
        """Who computes the shards of a work."""
        match TypeAdapter[Spread](Spread).validate_python(self.compute):
            case RayCompute(address=address, cpus_per_worker=cpus):
                return RayCluster(address, cpus)
            case DevicesCompute(processes=processes):
                return Devices(processes)
        return IN_PROCESS


def _claim(root: Path, ours: dict[str, str]) -> None:
    """Note whose home ``root`` is; raise ArtifactError if it is a programme's of another name and other sources."""
    owner = root / OWNER
    try:
        root.mkdir(parents=True, exist_ok=True)
        with (root / OWNER_LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if copy := working_copy_of(root):
                place = f"{copy.bucket.address}/{OWNER}"
                copy.bucket.settle(copy.object_of(owner), lambda found: _claimed(found, ours, place))
            found = owner.read_bytes() if owner.is_file() else None
            claimed = _claimed(found, ours, owner)
            if claimed != found:
                with atomic_path(owner) as path:
                    path.write_bytes(claimed)
    except OSError as error:
        raise ArtifactError(f"cannot write below {root}: {error.strerror}; set $CONAN_HOME elsewhere") from error


def _claimed(found: bytes | Found | None, ours: dict[str, str], place: object) -> bytes:
    """Return what is to be noted where ``found`` was; raise ArtifactError if that is another programme's."""
    theirs = _owner(found.content if isinstance(found, Found) else found or b"", place)
    if theirs and all(theirs.get(name) != value for name, value in ours.items()):
        home = str(place).rpartition("/")[0]
        raise ArtifactError(
            f"{home} belongs to the programme {theirs.get('programme')!r}, not to {ours['programme']!r}: set "
            f"$CONAN_HOME to a place of its own; if the two are one, delete {place}"
        )
    return found if isinstance(found, bytes) and theirs == ours else seal(ours).encode()


def _owner(content: bytes, place: object) -> dict[str, str]:
    try:
        return unseal_bytes(content, place)
    except DamagedError:
        return {}


def _forget_finished_runs(folder: Path, instance: dg.DagsterInstance, current: str) -> None:
    """Delete what runs noted that have ended, so that no version is kept for them."""
    for notes in folder.glob("*"):
        run = instance.get_run_by_id(notes.name)
        is_unknown = run is None and time.time() - notes.stat().st_mtime > SECONDS_OF_AN_UNKNOWN_RUN
        if notes.name != current and (is_unknown or (run is not None and run.is_finished)):
            shutil.rmtree(notes, ignore_errors=True)
