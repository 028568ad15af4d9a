"""Files written at once or not at all: under a temporary name first, on the disk before they have their own.

What killed writers leave is told by its name and removed; a full disk is named with the way out.
"""

import contextlib
import errno
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

TEMPORARY_NAME = re.compile(r"\..+\.(?P<pid>\d+)@(?P<host>[^@]+)\.tmp")
SECONDS_TO_WRITE = 24 * 3600
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class ArtifactError(RuntimeError):
    """What a programme keeps is missing, damaged, locked by another run, or cannot be written."""


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; what was written there replaces ``path`` on success, else is removed.

    It has reached the disk when ``path`` names it: a power cut leaves the old file or the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        yield temporary
        flush(temporary)
        if path.is_dir() and not path.is_symlink():
            raise ArtifactError(f"{path} is a folder where a file belongs: move it away and run again")
        os.replace(temporary, path)
        flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def files_of(folder: Path) -> list[Path]:
    """Return every file below ``folder``, links and folders left out, in the order of their names."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def flush(path: Path) -> None:
    """Return when a file's bytes, or a folder's names, would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_tree(folder: Path) -> None:
    """Flush every file below ``folder``, then the folders themselves."""
    for path in [*files_of(folder), *(path for path in folder.rglob("*") if path.is_dir()), folder]:
        flush(path)


def temporary_path(path: Path) -> Path:
    """Return a path beside ``path`` that tells which process writes there."""
    return path.with_name(f".{path.name}.{os.getpid()}@{socket.gethostname()}.tmp")


def point(link: Path, folder: Path) -> None:
    """Make ``link`` a symbolic link to ``folder``, relative to where it is, in one step."""
    temporary = temporary_path(link)
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(folder.resolve(), link.parent.resolve()))
    os.replace(temporary, link)


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
