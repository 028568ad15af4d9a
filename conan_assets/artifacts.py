"""Finished outputs on disk: written once under the fingerprint of what made them, found again, never half-written.

An artifact is a directory ``<root>/<key>/<fingerprint>/`` with a ``manifest.json``. It is built in
``<fingerprint>.partial/`` and renamed when complete, so whatever carries a fingerprint as its name is finished.
A killed build leaves its ``.partial`` directory to the next attempt, which may resume from it. The manifest holds a
digest of every other file: what is no longer what was written is set aside when it would be reused, and never read.
Below a home in a bucket, what is selected is in the bucket first, and what is there is fetched when it is asked for.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from conan_assets.bucket.lease import Lease
from conan_assets.bucket.versions import PublishedVersions
from conan_assets.bucket.working_copy import working_copy_of
from conan_assets.files import (
    ArtifactError,
    atomic_path,
    flush,
    flush_tree,
    naming_a_full_disk,
    remove_folder,
    remove_leftovers,
    temporary_path,
)
from conan_assets.integrity import (
    DAMAGED,
    DamagedError,
    digest_parts,
    require_intact,
    seal,
    set_aside,
)
from conan_assets.manifest import CURRENT, FINISHED, MANIFEST, PARTIAL_SUFFIX, Manifest, read_manifest, read_pointer
from conan_assets.run_notes import RunNotes

LOCK = ".lock"

logger = logging.getLogger("conan_assets")


def fingerprint(*parts: object) -> str:
    """Return 16 hex digits that change whenever any of ``parts`` does.

    Parts are bytes, JSON values, paths, dataclasses or pydantic models, nested at will.
    """
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else json.dumps(part, default=_plain, sort_keys=True).encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:16]


def fingerprint_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(value: object) -> object:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no fingerprint; pass bytes, JSON values, dataclasses or models")


@dataclass(frozen=True)
class Artifact:
    """One finished output.

    Attributes
    ----------
    fingerprint, content
        Fingerprints of what made it, and of what came out: what lies downstream depends on the latter alone.
    path, report
        Its directory, and what its build reported.
    made_from
        The content of every artifact that it was made from, directly or not, by key.
    order
        Higher than that of every version of its key that was finished or reused before.
    """

    key: str
    fingerprint: str
    content: str
    path: Path
    report: dict[str, Any]
    made_from: dict[str, str] = field(default_factory=dict)
    order: int = field(default=0, compare=False)


class ArtifactStore:
    """All finished outputs below one root directory.

    Parameters
    ----------
    root
        Directory that holds a sub-directory per key; created when first written to.
    keep_versions
        Finished versions kept per key; the oldest beyond it are deleted when a new one is finished.
    run
        Folder that notes which version of each key a run made, reused or read first: it reads that one to its end,
        whatever other runs make meanwhile. None outside of runs.
    """

    def __init__(self, root: Path, keep_versions: int = 3, run: Path | None = None) -> None:
        self.root = root
        self.keep_versions = keep_versions
        self.run = run
        self._notes = RunNotes(run) if run else None
        copy = working_copy_of(root)
        self._published = PublishedVersions(copy) if copy else None
        self._leases: dict[str, Lease | None] = {}

    def find(self, key: str, version: str) -> Artifact | None:
        """Return the finished artifact of that key and fingerprint, or None.

        Below a home in a bucket its files may still have to be fetched, as :meth:`require_intact` does.

        Raises
        ------
        ArtifactError
            Its manifest is damaged; its other files are not looked at.
        """
        directory = self.root / key / version
        try:
            manifest = read_manifest(directory) if directory.exists() else self._published_manifest(directory)
        except DamagedError as error:
            raise ArtifactError(f"{error}; {_way_out(key)}") from error
        if manifest is None:
            return None
        return Artifact(key, version, manifest.content, directory, manifest.report, manifest.made_from, manifest.order)

    def reusable(self, key: str, version: str) -> Artifact | None:
        """Return the finished artifact of that key and fingerprint, or None; a damaged one is set aside and logged."""
        directory = self.root / key / version
        try:
            if self._published:
                self._published.drop_outdated(directory)
                self._published.fetch(directory)
            if directory.exists():
                self._check_once(directory)
        except DamagedError as error:
            kept = set_aside(directory, self.root.parent) if directory.exists() else f"its bucket's {DAMAGED}/"
            logger.warning("%s; it is made again, %s keeps what is left", error, kept)
        return self.find(key, version)

    def current(self, key: str) -> Artifact:
        """Return the version of ``key`` that this run has made or read, else the one that was finished or reused last.

        Raises
        ------
        ArtifactError
            There is none, or its manifest is damaged.
        """
        version = (self._notes.version_of(key) if self._notes else "") or self._pointed(key)
        artifact = self.find(key, version) if version else None
        if artifact is None:
            raise ArtifactError(f"{key} has not been materialized under {self.root}: materialize it first")
        if self._notes:
            self._notes.note(key, artifact.fingerprint)
        return artifact

    def has(self, key: str) -> bool:
        """Return whether a version of ``key`` was ever finished."""
        return bool(self._pointed(key))

    def require_intact(self, artifact: Artifact) -> Artifact:
        """Return ``artifact`` if every file of it is what was written; raise ArtifactError, which names one, if not."""
        try:
            if self._published:
                self._published.fetch(artifact.path)
            self._check_once(artifact.path)
        except DamagedError as error:
            raise ArtifactError(f"{error}; {_way_out(artifact.key)}") from error
        return artifact

    def select(self, artifact: Artifact) -> None:
        """Make ``artifact`` the current version of its key, and that of this run."""
        try:
            manifest, newest = read_manifest(artifact.path), self._newest_besides(artifact)
            if artifact.order <= newest:
                manifest = manifest.model_copy(update={"order": newest + 1})
                with atomic_path(artifact.path / MANIFEST) as path:
                    path.write_text(seal(manifest.model_dump()), encoding="utf-8")
            if self._published:
                self._publish(artifact, manifest, self._published)
            current = self.root / artifact.key / CURRENT
            if read_pointer(current) != artifact.fingerprint:
                if current.is_dir():
                    logger.warning("%s is no file: %s", current, set_aside(current, self.root.parent))
                with atomic_path(current) as pointer:
                    pointer.write_text(artifact.fingerprint)
            if self._notes:
                self._notes.note(artifact.key, artifact.fingerprint)
            remove_leftovers(self.root / artifact.key)
        except OSError as error:
            raise self._cannot_write(error) from error

    @contextlib.contextmanager
    def building(self, key: str, version: str, instead_of: Artifact | None = None) -> Iterator[Path]:
        """Yield the directory to build ``version`` of ``key`` in, alone; call :meth:`finish` to publish it.

        The directory may hold what an earlier, killed attempt at the same version left. What is finished is built
        again only ``instead_of`` itself.
        """
        with self._alone_at(key):
            if self.find(key, version) != instead_of:
                raise ArtifactError(f"another run has just materialized {key} under {self.root}: run again to reuse it")
            partial = self.root / key / f"{version}{PARTIAL_SUFFIX}"
            partial.mkdir(exist_ok=True)
            with naming_a_full_disk(key, self.root):
                if self._published:
                    self._published.take_up_partial(partial)
                yield partial

    def finish(
        self,
        key: str,
        version: str,
        report: dict[str, Any],
        content: str | None = None,
        made_from: Mapping[str, str] | None = None,
    ) -> Artifact:
        """Publish what was built: write its manifest, rename it, make it current and prune old versions.

        ``content`` is a fingerprint of what was built, where equal content can be told; by default ``version``.
        """
        partial = self.root / key / f"{version}{PARTIAL_SUFFIX}"
        (partial / MANIFEST).unlink(missing_ok=True)
        manifest = Manifest(
            key=key,
            fingerprint=version,
            content=content or version,
            order=1 + max((order for order, _ in self._versions(key)), default=0),
            finished_at=time.time(),
            made_from=dict(made_from or {}),
            parts=digest_parts(partial),
            report=report,
        )
        (partial / MANIFEST).write_text(seal(manifest.model_dump()), encoding="utf-8")
        flush_tree(partial)
        finished = partial.with_name(version)
        replaced = temporary_path(finished)
        if finished.exists():
            finished.rename(replaced)
        partial.rename(finished)
        flush(finished.parent)
        if replaced.exists():
            shutil.rmtree(replaced)
        artifact = Artifact(key, version, manifest.content, finished, report, manifest.made_from, manifest.order)
        self.select(artifact)
        self._prune(artifact)
        return artifact

    def _published_manifest(self, directory: Path) -> Manifest | None:
        return self._published.manifest(directory) if self._published else None

    def _check_once(self, directory: Path) -> None:
        """Compare the parts of a finished version with their digests, in a run the first time alone."""
        (_check_in_run if self.run else _check)(directory, self.run)

    def _publish(self, artifact: Artifact, manifest: Manifest, published: PublishedVersions) -> None:
        """Put into the bucket what it lacks of a version: its parts as the only one at its key."""
        is_alone = artifact.key in self._leases or published.has_parts(artifact.path, manifest)
        with contextlib.nullcontext() if is_alone else self._alone_at(artifact.key):
            published.publish(artifact.path, manifest, self._leases.get(artifact.key))

    @contextlib.contextmanager
    def _alone_at(self, key: str) -> Iterator[None]:
        """Keep other runs from building ``key``, here and on other machines; raise ArtifactError if one does."""
        folder = self.root / key
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / LOCK).open("a+")
        except OSError as error:
            raise self._cannot_write(error) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ArtifactError(f"another run is materializing {key} under {self.root}: wait for it") from None
            with self._published.leased(folder) if self._published else contextlib.nullcontext() as lease:
                self._leases[key] = lease
                try:
                    yield
                finally:
                    del self._leases[key]

    def _pointed(self, key: str) -> str:
        """Return the version that was finished or reused last, "" if there is none."""
        folder = self.root / key
        return self._published.current(folder) if self._published else read_pointer(folder / CURRENT)

    def _newest_besides(self, artifact: Artifact) -> int:
        """Return the highest order of the other versions of its key, here and in the bucket; 0 without one."""
        here = (order for order, path in self._versions(artifact.key) if path != artifact.path)
        return max(self._published.newest_besides(artifact.path) if self._published else 0, *here, 0)

    def _cannot_write(self, error: OSError) -> ArtifactError:
        return ArtifactError(f"cannot write below {self.root}: {error.strerror}; set $CONAN_HOME elsewhere")

    def _versions(self, key: str) -> list[tuple[int, Path]]:
        """Return the order and the folder of every finished version of ``key``, the damaged and the oldest first."""
        found = []
        for manifest in (self.root / key).glob(f"*/{MANIFEST}"):
            if FINISHED.fullmatch(manifest.parent.name):
                try:
                    found.append((read_manifest(manifest.parent).order, manifest.parent))
                except DamagedError:
                    found.append((0, manifest.parent))
        return sorted(found)

    def _prune(self, made: Artifact) -> None:
        """Delete the oldest other versions that no run reads, and what builds left behind; the key is locked."""
        folder = self.root / made.key
        for abandoned in folder.glob(f"*{PARTIAL_SUFFIX}"):
            remove_folder(abandoned)
        used = {made.fingerprint, *(self._notes.of_all_runs(made.key) if self._notes else ())}
        for _, version in self._versions(made.key)[: -self.keep_versions]:
            if version.name not in used:
                remove_folder(version)
        if self._published:
            self._published.prune(folder, self.keep_versions, used)


def _check(directory: Path, run: Path | None) -> None:
    require_intact(directory, read_manifest(directory).parts)


_check_in_run = lru_cache(maxsize=None)(_check)
"""Remembers what was found intact, by run; an error is raised again each time."""


def _way_out(key: str) -> str:
    return f"materialize {key} again: it is set aside then and made anew"
