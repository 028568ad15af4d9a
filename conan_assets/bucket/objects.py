"""The objects below an address in a bucket, by obstore: S3, Google Cloud Storage and Azure alike.

A put is atomic, also a conditional one: ``create`` only where there is nothing, ``replace`` only what was read. Lost
answers are asked for again by obstore, so that a refused condition may be this machine's own success: whoever depends
on it reads the object and looks whether the content is its own.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from conan_assets.bucket.errors import BucketError, explained
from conan_assets.files import atomic_path
from conan_assets.integrity import DamagedError

if TYPE_CHECKING:
    from obstore import PutMode, UpdateVersion
    from obstore.store import ObjectStore

SECONDS_TO_RETRY = 120
"""How long a request is repeated when no answer comes; the whole of a run may stand still so long."""
SECONDS_OF_A_REQUEST = 600
SECONDS_TO_CONNECT = 20
SMALLEST_CHUNK = 8 * 2**20
MOST_CHUNKS = 9_000
"""Of one upload; S3 takes 10,000."""
ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")


@dataclass(frozen=True)
class Found:
    """An object's content, what it must still be to be replaced, and when the bucket took it, by its own clock."""

    content: bytes
    version: dict[str, object]
    changed: datetime


class Bucket:
    """The objects below ``address``, such as ``s3://bucket/prefix``; credentials come from the environment alone.

    Every method raises BucketError, which names the address, where the bucket cannot be had.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._store = _open(address)

    def get(self, name: str) -> Found | None:
        """Return an object, or None."""
        import obstore

        try:
            with explained(self.address):
                result = obstore.get(self._store, name)
                meta, content = result.meta, result.bytes().to_bytes()
        except FileNotFoundError:
            return None
        version = {name: value for name in ("e_tag", "version") if (value := meta.get(name)) is not None}
        return Found(content, version, meta["last_modified"])

    def download(self, name: str, path: Path) -> None:
        """Write an object's content to ``path``, at once or not at all.

        Raises
        ------
        DamagedError
            There is no such object.
        """
        try:
            with atomic_path(path) as temporary, temporary.open("wb") as file:
                file.writelines(self._chunks(name))
        except FileNotFoundError:
            raise DamagedError(f"{self.address}/{name} is missing") from None

    def _chunks(self, name: str) -> Iterator[memoryview]:
        import obstore

        with explained(self.address):
            for chunk in obstore.get(self._store, name).stream(min_chunk_size=SMALLEST_CHUNK):
                yield memoryview(chunk)

    def put(self, name: str, content: bytes | Path | BinaryIO) -> None:
        """Write an object, whatever was there; of a file its bytes from where it is."""
        import obstore

        size = _size(content)
        chunk = max(SMALLEST_CHUNK, -(-size // MOST_CHUNKS))
        with explained(self.address):
            obstore.put(self._store, name, content, chunk_size=chunk)

    def create(self, name: str, content: bytes) -> bool:
        """Write an object where there is none; return whether that was so."""
        return self._put_if(name, content, "create")

    def replace(self, name: str, content: bytes, found: Found) -> bool:
        """Write an object in the place of what was found, and of nothing else; return whether it still was that."""
        return self._put_if(name, content, cast("UpdateVersion", found.version))

    def _put_if(self, name: str, content: bytes, mode: "PutMode") -> bool:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            with explained(self.address):
                obstore.put(self._store, name, content, mode=mode)
        except (AlreadyExistsError, PreconditionError, FileNotFoundError):
            return False
        return True

    def settle(self, name: str, decide: Callable[[Found | None], bytes | None]) -> None:
        """Replace an object by what ``decide`` makes of it, until nobody came in between; None leaves it."""
        while True:
            found = self.get(name)
            content = decide(found)
            if content is None or (found is not None and found.content == content):
                return
            if self.replace(name, content, found) if found else self.create(name, content):
                return

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the name of every object below ``prefix``, a whole part of a name."""
        return (name for name, _ in self.changes(prefix))

    def changes(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        """Yield the name of every object below ``prefix``, and when the bucket took it, by its own clock."""
        import obstore

        with explained(self.address):
            for page in obstore.list(self._store, prefix):
                yield from ((meta["path"], meta["last_modified"]) for meta in page)

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; what is not there already need not be.

        S3 does not mind; other stores say so and leave the rest, which is deleted one by one.
        """
        import obstore

        if gone := [*names]:
            try:
                with explained(self.address):
                    obstore.delete(self._store, gone)
            except FileNotFoundError:
                for name in gone:
                    with explained(self.address), contextlib.suppress(FileNotFoundError):
                        obstore.delete(self._store, name)


def _size(content: bytes | Path | BinaryIO) -> int:
    if isinstance(content, bytes):
        return len(content)
    return content.stat().st_size if isinstance(content, Path) else os.fstat(content.fileno()).st_size


def _open(address: str) -> "ObjectStore":
    try:
        from obstore.store import from_url
    except ImportError:
        raise BucketError(
            f"the home {address} is in a bucket, which needs obstore: pip install 'conan-assets[bucket]' --constraint "
            "constraints.txt"
        ) from None
    is_plain = any(os.environ.get(name, "").startswith("http://") for name in ENDPOINTS)
    with explained(address):
        return from_url(
            address,
            client_options={
                "timeout": timedelta(seconds=SECONDS_OF_A_REQUEST),
                "connect_timeout": timedelta(seconds=SECONDS_TO_CONNECT),
                "allow_http": is_plain or "AWS_ALLOW_HTTP" in os.environ,
            },
            retry_config={"max_retries": 1_000, "retry_timeout": timedelta(seconds=SECONDS_TO_RETRY)},
        )
