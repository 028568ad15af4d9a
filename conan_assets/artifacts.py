"""Finished outputs on disk: written once under the fingerprint of what made them, found again, never half-written.

An artifact is a directory ``<root>/<key>/<fingerprint>/`` with a ``manifest.json``. It is built in
``<fingerprint>.partial/`` and renamed when complete, so whatever carries a fingerprint as its name is finished.
A killed build leaves its ``.partial`` directory to the next attempt, which may resume from it.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

PARTIAL_SUFFIX = ".partial"
MANIFEST = "manifest.json"
TEMPORARY_NAME = re.compile(r"\..+\.(?P<pid>\d+)@(?P<host>[^@]+)\.tmp")
SECONDS_TO_WRITE = 24 * 3600
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class ArtifactError(RuntimeError):
    """An artifact is missing, locked by another run, or cannot be written."""


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


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; what was written there replaces ``path`` on success, else is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_path(path: Path) -> Path:
    """Return a path beside ``path`` that tells which process writes there."""
    return path.with_name(f".{path.name}.{os.getpid()}@{socket.gethostname()}.tmp")


def remove_leftovers(folder: Path) -> int:
    """Delete the temporary files and folders below ``folder`` whose writers were killed; return how many there were.

    A process of this machine is asked for, one of another machine has a day to finish.
    """
    leftovers = [path for path in folder.rglob(".*.tmp") if _is_abandoned(path)]
    for path in leftovers:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(leftovers)


def remove_folder(folder: Path) -> None:
    """Delete a folder so that a kill in the midst of it leaves nothing under its name."""
    doomed = temporary_path(folder)
    folder.rename(doomed)
    shutil.rmtree(doomed)


def _is_abandoned(path: Path) -> bool:
    writer = TEMPORARY_NAME.fullmatch(path.name)
    if writer is None:
        return False
    if writer["host"] == socket.gethostname():
        return not is_running(int(writer["pid"]))
    try:
        return time.time() - path.lstat().st_mtime > SECONDS_TO_WRITE
    except FileNotFoundError:
        return False


def is_running(pid: int) -> bool:
    """Return whether a process of this machine is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def full_disk_error(error: BaseException | None) -> BaseException | None:
    """Return the error, ``error`` or what caused it, that says that the disk or the quota is full; None without one."""
    while error is not None:
        told = any(os.strerror(number) in str(error) for number in DISK_FULL)
        if told or (isinstance(error, OSError) and error.errno in DISK_FULL):
            return error
        error = error.__cause__ or error.__context__
    return None


@contextlib.contextmanager
def naming_a_full_disk(name: str, root: Path) -> Iterator[None]:
    """Turn the error of a full disk, while ``name`` is written below ``root``, into one that says what to do."""
    try:
        yield
    except Exception as error:
        full = full_disk_error(error)
        if full is None:
            raise
        file = getattr(full, "filename", None)
        is_elsewhere = isinstance(file, str) and not Path(file).absolute().is_relative_to(root.absolute())
        raise ArtifactError(
            f"the disk is full: {name} could not be written{'' if is_elsewhere else f' below {root}'}; free some space "
            f"{f'for {file}' if is_elsewhere else 'there'}, then run again: what is finished is kept"
        ) from error


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
    """

    key: str
    fingerprint: str
    content: str
    path: Path
    report: dict[str, Any]
    made_from: dict[str, str] = field(default_factory=dict)


class ArtifactStore:
    """All finished outputs below one root directory.

    Parameters
    ----------
    root
        Directory that holds a sub-directory per key; created when first written to.
    keep_versions
        Finished versions kept per key; the oldest beyond it are deleted when a new one is finished.
    """

    def __init__(self, root: Path, keep_versions: int = 3) -> None:
        self.root = root
        self.keep_versions = keep_versions

    def find(self, key: str, version: str) -> Artifact | None:
        """Return the finished artifact of that key and fingerprint, or None."""
        directory = self.root / key / version
        try:
            manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError as error:
            raise ArtifactError(f"{directory / MANIFEST} is damaged: delete {directory} to make it again") from error
        return Artifact(key, version, manifest["content"], directory, manifest["report"], manifest.get("made_from", {}))

    def current(self, key: str) -> Artifact:
        """Return the version of ``key`` that was finished or reused last; raise ArtifactError when there is none."""
        try:
            version = (self.root / key / "current").read_text().strip()
        except (FileNotFoundError, NotADirectoryError):
            version = ""
        artifact = self.find(key, version) if version else None
        if artifact is None:
            raise ArtifactError(f"{key} has not been materialized under {self.root}: materialize it first")
        return artifact

    def select(self, artifact: Artifact) -> None:
        """Make ``artifact`` the current version of its key."""
        try:
            os.utime(artifact.path / MANIFEST)
            with atomic_path(self.root / artifact.key / "current") as pointer:
                pointer.write_text(artifact.fingerprint)
            remove_leftovers(self.root / artifact.key)
        except OSError as error:
            raise ArtifactError(
                f"cannot write below {self.root}: {error.strerror}; set $CONAN_HOME elsewhere"
            ) from error

    @contextlib.contextmanager
    def building(self, key: str, version: str, instead_of: Artifact | None = None) -> Iterator[Path]:
        """Yield the directory to build ``version`` of ``key`` in, alone; call :meth:`finish` to publish it.

        The directory may hold what an earlier, killed attempt at the same version left. What is finished is built
        again only ``instead_of`` itself.
        """
        folder = self.root / key
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / ".lock").open("w")
        except OSError as error:
            raise ArtifactError(
                f"cannot write below {self.root}: {error.strerror}; set $CONAN_HOME elsewhere"
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ArtifactError(f"another run is materializing {key} under {self.root}: wait for it") from None
            if self.find(key, version) != instead_of:
                raise ArtifactError(f"another run has just materialized {key} under {self.root}: run again to reuse it")
            partial = folder / f"{version}{PARTIAL_SUFFIX}"
            partial.mkdir(exist_ok=True)
            with naming_a_full_disk(key, self.root):
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
        artifact = Artifact(key, version, content or version, partial.with_name(version), report, dict(made_from or {}))
        manifest = {
            "key": key,
            "fingerprint": version,
            "content": artifact.content,
            "finished_at": time.time(),
            "made_from": artifact.made_from,
            "report": report,
        }
        (partial / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False), encoding="utf-8")
        replaced = temporary_path(artifact.path)
        if artifact.path.exists():
            artifact.path.rename(replaced)
        partial.rename(artifact.path)
        if replaced.exists():
            shutil.rmtree(replaced)
        self.select(artifact)
        self._prune(key)
        return artifact

    def _prune(self, key: str) -> None:
        """Delete the oldest finished versions and what builds of other versions left behind; the key is locked."""
        for abandoned in (self.root / key).glob(f"*{PARTIAL_SUFFIX}"):
            remove_folder(abandoned)
        manifests = sorted((self.root / key).glob(f"*/{MANIFEST}"), key=lambda path: path.stat().st_mtime)
        for manifest in manifests[: -self.keep_versions]:
            remove_folder(manifest.parent)
