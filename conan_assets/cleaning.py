"""What is deleted from a storage root by itself: old releases, embeddings that nobody reads, what is left of runs.

Finished versions of the assets are pruned where they are finished, in ``artifacts.py``.
"""

import logging
import os
import time
from pathlib import Path

from conan_assets.bucket.cleaning import delete_oldest, delete_unread
from conan_assets.bucket.working_copy import working_copy_of
from conan_assets.files import remove_folder, remove_leftovers
from conan_assets.integrity import DAMAGED
from conan_assets.manifest import PARTIAL_SUFFIX

EMBEDDINGS = "embeddings"
EVALUATIONS = "evaluations"
RELEASES = "releases"
POINTER = "released_model"
LAST_PUBLISHED = "last_published"
"""File beside the releases that names the one published last: where the pointer names another, it was withdrawn."""
TABLE = "table.parquet"
SECONDS_PER_DAY = 24 * 3600

logger = logging.getLogger("conan_assets")


def clean_storage(root: Path, keep_releases: int, keep_embeddings_days: int) -> None:
    """Delete what the storage root no longer needs, and log what it was.

    Parameters
    ----------
    root
        The storage root of a programme.
    keep_releases
        The newest releases that stay; the one that ``released_model`` points to always does.
    keep_embeddings_days
        Embeddings and results of single tasks stay that were read or written in so many days. Deleted ones are
        computed again when needed. What was damaged and set aside stays as long.
    """
    oldest = time.time() - keep_embeddings_days * SECONDS_PER_DAY
    kept_by_model = [*_folders(root / EMBEDDINGS), *_folders(root / EVALUATIONS)]
    unread = [folder for folder in kept_by_model if folder.stat().st_mtime < oldest]
    released = (root / POINTER).resolve()
    damaged = [folder for folder in (root / DAMAGED,) if folder.exists() and _last_change(folder) < oldest]
    releases = _folders(root / RELEASES)
    partial = [folder for folder in releases if folder.suffix == PARTIAL_SUFFIX]
    finished = [folder for folder in releases if folder not in partial]
    old = [folder for folder in finished[:-keep_releases] if folder.resolve() != released]
    for folder in [*unread, *partial, *old, *damaged]:
        remove_folder(folder)
        logger.info("cleaning: deleted %s", folder)
    if copy := working_copy_of(root):
        delete_oldest(copy, root / RELEASES, keep_releases, (released.name,))
        for parent in (EMBEDDINGS, EVALUATIONS, DAMAGED):
            delete_unread(copy, root / parent, keep_embeddings_days)
    if leftovers := remove_leftovers(root):
        logger.info("cleaning: deleted %s temporary files of killed runs", leftovers)


def mark_as_read(folder: Path) -> None:
    """Note that what lies in ``folder`` was used now."""
    if folder.exists():
        os.utime(folder)


def _folders(parent: Path) -> list[Path]:
    """Return the folders in ``parent``, the longest unused first."""
    folders = [path for path in parent.glob("*") if path.is_dir()]
    return sorted(folders, key=lambda path: path.stat().st_mtime)


def _last_change(folder: Path) -> float:
    return max((path.lstat().st_mtime for path in folder.rglob("*")), default=0.0)
