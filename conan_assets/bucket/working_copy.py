"""The folder in which a programme with its home in a bucket works, and which object each of its files is.

The folder names its bucket in a file of its own, as a clone names its remote: every room, and every process that only
knows a path below it, finds the bucket from there.
"""

import contextlib
import json
import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from conan_assets.bucket.address import CACHE, is_bucket, local_folder
from conan_assets.bucket.errors import BucketError
from conan_assets.bucket.objects import Bucket, Found
from conan_assets.files import ArtifactError, atomic_path, files_of, flush_tree, temporary_path
from conan_assets.integrity import DamagedError

MARK = ".bucket.json"
WRITERS = "writers"
SECONDS_OF_SKEW = 15 * 60
"""By how much a clock may differ from a bucket's; S3 refuses requests beyond it."""


@dataclass(frozen=True)
class WorkingCopy:
    """A folder of this machine that holds some of a bucket's objects as files.

    Attributes
    ----------
    root
        The folder.
    name
        Tells this working copy from those of the same bucket elsewhere.
    bucket
        Where its files belong.
    """

    root: Path
    name: str
    bucket: Bucket

    def object_of(self, path: Path) -> str:
        """Return the name of the object that a file is, or the part of a name that all in a folder begin with."""
        return path.relative_to(self.root).as_posix()

    def put(self, path: Path) -> None:
        """Put a file, or every file below a folder, into the bucket."""
        for file in files_of(path) if path.is_dir() else [path]:
            self.bucket.put(self.object_of(file), file)

    def fetch(self, folder: Path) -> None:
        """Bring every object below a folder that is no file there yet."""
        for name in self.names(folder):
            if not (folder / name).exists():
                self.bucket.download(f"{self.object_of(folder)}/{name}", folder / name)

    def fetch_whole(self, folder: Path) -> None:
        """Bring all objects below a folder, so that half of it never has its name."""
        temporary = temporary_path(folder)
        try:
            for name in self.names(folder):
                self.bucket.download(f"{self.object_of(folder)}/{name}", temporary / name)
            if temporary.exists() and not folder.exists():
                flush_tree(temporary)
                temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def names(self, folder: Path) -> Iterator[str]:
        """Yield the path below ``folder`` of every object there."""
        prefix = self.object_of(folder)
        for name in self.bucket.list(prefix):
            yield name.removeprefix(f"{prefix}/")

    def delete(self, folder: Path) -> None:
        """Delete every object below ``folder`` from the bucket."""
        self.bucket.delete(self.bucket.list(self.object_of(folder)))

    def clock(self) -> datetime:
        """Return the time by the bucket's clock."""
        return self.sign().changed

    def sign(self) -> Found:
        """Note in the bucket that this working copy is there, each time in other words; return the note."""
        about = {"host": socket.gethostname(), "seen": datetime.now(UTC).isoformat(), "token": uuid.uuid4().hex}
        self.bucket.put(self.signature, json.dumps(about).encode())
        noted = self.bucket.get(self.signature)
        if noted is None:
            raise BucketError(f"{self.bucket.address}: what is written there is not found when it is read")
        return noted

    @property
    def signature(self) -> str:
        """The name of the object of :meth:`sign`."""
        return f"{WRITERS}/{self.name}"


def working_copy_of(path: Path) -> WorkingCopy | None:
    """Return the working copy that ``path`` lies in, or None: it is a home of this machine alone."""
    for folder in (path, *path.parents):
        if (folder / MARK).is_file():
            return _opened(folder, os.getpid())
    return None


@cache
def _opened(root: Path, process: int) -> WorkingCopy:
    mark = json.loads((root / MARK).read_text(encoding="utf-8"))
    return WorkingCopy(root, mark["name"], Bucket(mark["address"]))


def upload(*paths: Path) -> None:
    """Put files, or all below folders, into the bucket, in this order, if their home is in one."""
    for path in paths:
        if copy := working_copy_of(path):
            copy.put(path)


def bring(*files: Path) -> None:
    """Fetch files that are not there from the bucket, if their home is in one and it has them."""
    for file in files:
        if not file.exists() and (copy := working_copy_of(file)):
            with contextlib.suppress(DamagedError):
                copy.bucket.download(copy.object_of(file), file)


def open_home(home: str | Path) -> Path:
    """Return the folder of ``home`` on this machine; that of a bucket is made, and the bucket tried out.

    Raises
    ------
    BucketError
        The bucket is missing or cannot be reached, permission or credentials are, a clock is wrong, or its store does
        not hold conditions, without which two runs would overwrite one another.
    """
    root = local_folder(home)
    if is_bucket(home):
        try:
            _mark(root, str(home))
        except OSError as error:
            raise ArtifactError(
                f"cannot write the working copy {root} of {home}: {error.strerror}; set ${CACHE} to another folder"
            ) from error
        copy = working_copy_of(root)
        if copy is not None:
            _try_out(copy)
    return root


def _mark(root: Path, address: str) -> None:
    """Name the bucket in the folder of its working copy, which keeps the name it has."""
    root.mkdir(parents=True, exist_ok=True)
    if not (root / MARK).exists():
        with atomic_path(root / MARK) as path:
            path.write_text(json.dumps({"address": address, "name": uuid.uuid4().hex}), encoding="utf-8")


def _try_out(copy: WorkingCopy) -> None:
    first, second = copy.sign(), copy.sign()
    skew = (datetime.now(UTC) - second.changed).total_seconds()
    if abs(skew) > SECONDS_OF_SKEW:
        raise BucketError(
            f"{copy.bucket.address}: this machine's clock is {abs(skew) / 60:.0f} minutes "
            f"{'ahead of' if skew > 0 else 'behind'} the bucket's: set it, by NTP for example"
        )
    if copy.signature not in copy.bucket.list(WRITERS):
        raise BucketError(f"{copy.bucket.address}: what is written there is not found when it is listed")
    if copy.bucket.create(copy.signature, b"") or copy.bucket.replace(copy.signature, b"", first):
        raise BucketError(
            f"{copy.bucket.address}: its store does not hold If-None-Match and If-Match, so that two runs would "
            "overwrite one another; take a store that does, such as S3, Google Cloud Storage or Azure"
        )
