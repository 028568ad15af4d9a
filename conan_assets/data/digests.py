"""SHA-256 digests of local files, remembered so that a file that stays as it is is read once."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import TypeAdapter

from conan_assets.artifacts import fingerprint_file
from conan_assets.files import atomic_path
from conan_assets.integrity import seal, unseal

Digest = Callable[[Path], str]
"""What returns the SHA-256 of a file's bytes as hex digits."""

SECONDS_TO_SETTLE = 2
"""A file that was written more recently may be written again without a change of its time: clocks have ticks."""

_REMEMBERED = TypeAdapter(dict[str, tuple[str, str]])


@contextlib.contextmanager
def remembered_digests(file: Path) -> Iterator[Digest]:
    """Yield a function like :func:`~conan_assets.artifacts.fingerprint_file` that reads changed files alone.

    A file counts as unchanged while its inode, its size and its times stay the same.

    Parameters
    ----------
    file
        What the digests are remembered in. Without it, or where it is damaged, they are computed again.
    """
    remembered = _load(file)
    before = dict(remembered)

    def digest(path: Path) -> str:
        place, status = str(path.absolute()), path.stat()
        state = f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
        known_state, known = remembered.get(place, ("", ""))
        if known_state == state:
            return known
        value = fingerprint_file(path)
        if time.time() - max(status.st_mtime, status.st_ctime) > SECONDS_TO_SETTLE:
            remembered[place] = (state, value)
        return value

    try:
        yield digest
    finally:
        if remembered != before:
            _save(remembered, file)


def _load(file: Path) -> dict[str, tuple[str, str]]:
    try:
        return _REMEMBERED.validate_python(unseal(file))
    except (OSError, ValueError):
        return {}


def _save(remembered: dict[str, tuple[str, str]], file: Path) -> None:
    """Write what belongs to files that are still there; where that is not possible, they will be read again."""
    present = {place: entry for place, entry in remembered.items() if os.path.exists(place)}
    with contextlib.suppress(OSError), atomic_path(file) as path:
        path.write_text(seal(present), encoding="utf-8")
