"""The last saved state in a bucket, for an attempt on another machine; it gets there while training goes on."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from conan_assets.bucket.errors import BucketError
from conan_assets.bucket.versions import WRITER
from conan_assets.bucket.working_copy import WorkingCopy, working_copy_of
from conan_assets.training.state import STATE, State, save_state

WITH_A_STATE = ("*.jsonl", "*.parquet")
"""Files of a run's directory that belong to a state: metrics, and what became of the negatives in earlier stages."""

logger = logging.getLogger("conan_assets")


class SharedState:
    """The state of the run in ``directory`` of a working copy.

    One upload is under way at a time, and one state waits, which a later one replaces. An upload that fails is warned
    of: the state on this machine's disk is what its own next attempt needs.
    """

    def __init__(self, copy: WorkingCopy, directory: Path) -> None:
        self._copy, self._directory = copy, directory
        self._uploads = ThreadPoolExecutor(1)
        self._changing = threading.Lock()
        self._waiting: tuple[str, BinaryIO, dict[str, bytes]] | None = None

    def put(self, state: Path) -> None:
        """Let a state that has just been saved be uploaded, with the files that belong to it as they are now."""
        files = {path.name: path.read_bytes() for pattern in WITH_A_STATE for path in self._directory.glob(pattern)}
        with self._changing:
            if self._waiting:
                self._waiting[1].close()
            self._waiting = state.name, state.open("rb"), files
        self._uploads.submit(self._upload)

    def close(self) -> None:
        """Return when the last state is there, or could not be put there."""
        self._uploads.shutdown()

    def _upload(self) -> None:
        with self._changing:
            waiting, self._waiting = self._waiting, None
        if waiting is None:
            return
        name, state, files = waiting
        folder = self._copy.object_of(self._directory)
        bucket = self._copy.bucket
        try:
            for other, content in files.items():  # first: what is beyond the state is cut off when training goes on
                bucket.put(f"{folder}/{other}", content)
            with state:
                bucket.put(f"{folder}/{STATE}/{name}", state)
            bucket.put(f"{folder}/{WRITER}", self._copy.name.encode())
            states = bucket.list(f"{folder}/{STATE}")
            bucket.delete(old for old in states if not old.endswith(f"/{name}"))
        except BucketError as error:
            logger.warning("the state %s is on this machine alone: %s", name, error)


@contextlib.contextmanager
def state_saver(directory: Path, run: str) -> Iterator[Callable[[State], object]]:
    """Yield what saves a state of the run with fingerprint ``run``: in ``directory`` and in the bucket of its home."""
    copy = working_copy_of(directory)
    if copy is None:
        yield lambda state: save_state(directory, state, run)
        return
    shared = SharedState(copy, directory)
    try:
        yield lambda state: shared.put(save_state(directory, state, run))
    finally:
        shared.close()
