"""One writer at a time across machines: an object that names the holder, renewed while he lives.

A lease that was not renewed for long, by the bucket's own clock, is taken over in its place; whoever lost it learns so
before he publishes.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from conan_assets.bucket.errors import BucketError
from conan_assets.bucket.objects import Found
from conan_assets.bucket.working_copy import WorkingCopy
from conan_assets.files import ArtifactError

SECONDS_BETWEEN_RENEWALS = 20.0
SECONDS_OF_A_LEASE = 180.0
"""Without a renewal for so long the holder is taken for dead."""
FREE = b"{}"


class HeldError(ArtifactError):
    """Another run holds the lease; the message says which."""


class Lease:
    """A lease on ``name``, for whoever holds its working copy's own lock; use :func:`leased`.

    A holder of the same working copy is dead, or it would hold that lock: his lease is taken over at once.
    """

    def __init__(self, copy: WorkingCopy, name: str, what: str) -> None:
        self._copy, self._name, self._what = copy, name, what
        self._holder: dict[str, Any] = {
            "holder": uuid.uuid4().hex,
            "copy": copy.name,
            "host": socket.gethostname(),
            "process": os.getpid(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "renewals": 0,
        }
        self._renewed = time.monotonic()
        self._ended = threading.Event()
        self._changing = threading.Lock()

    def take(self) -> None:
        """Hold the lease from now on; raise HeldError if another run does."""
        self._copy.bucket.settle(self._name, self._taken_from)
        threading.Thread(target=self._renew, daemon=True).start()

    def require(self) -> None:
        """Renew the lease now.

        Raises
        ------
        ArtifactError
            It is another's by now.
        """
        with self._changing:
            self._copy.bucket.settle(self._name, self._renewal)
            self._renewed = time.monotonic()

    def give_back(self) -> None:
        """Leave the lease to others, unless it is another's already."""
        self._ended.set()
        with self._changing, contextlib.suppress(ArtifactError):
            self._copy.bucket.settle(self._name, lambda found: FREE if self._is_mine(found) else None)

    def _taken_from(self, found: Found | None) -> bytes:
        holder = _read(found)
        if found is not None and holder and not self._is_mine(found) and not self._is_dead(holder, found):
            raise HeldError(
                f"another run is {self._what}: wait for it (process {holder.get('process')} on {holder.get('host')}, "
                f"since {holder.get('since')})"
            )
        return json.dumps(self._holder).encode()

    def _is_dead(self, holder: dict[str, Any], found: Found) -> bool:
        is_here = holder.get("copy") == self._copy.name and holder.get("host") == socket.gethostname()
        return is_here or self._copy.clock() - found.changed > timedelta(seconds=SECONDS_OF_A_LEASE)

    def _is_mine(self, found: Found | None) -> bool:
        return bool(_read(found).get("holder") == self._holder["holder"])

    def _renewal(self, found: Found | None) -> bytes:
        if not self._is_mine(found):
            raise ArtifactError(
                f"this run did not reach {self._copy.bucket.address} for so long that another run is {self._what}: "
                "what was made here is kept in the working copy; run again when the other has ended"
            )
        self._holder["renewals"] += 1
        return json.dumps(self._holder).encode()

    def _renew(self) -> None:
        while not self._ended.wait(SECONDS_BETWEEN_RENEWALS):
            try:
                self.require()
            except BucketError:
                continue  # tried again; whoever publishes asks once more
            except ArtifactError:
                return


def _read(found: Found | None) -> dict[str, Any]:
    try:
        holder = json.loads(found.content) if found else {}
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


@contextlib.contextmanager
def leased(copy: WorkingCopy, name: str, what: str) -> Iterator[Lease]:
    """Hold a lease while the body runs; ``what`` says what is done meanwhile, as in "materializing X"."""
    lease = Lease(copy, name, what)
    lease.take()
    try:
        yield lease
    finally:
        lease.give_back()
