"""What is deleted from a bucket by itself, as from a home on a disk: by the bucket's own clock."""

from collections.abc import Collection
from datetime import datetime, timedelta
from pathlib import Path

from conan_assets.bucket.working_copy import WorkingCopy


def folders_of(copy: WorkingCopy, parent: Path) -> dict[str, datetime]:
    """Return when something was last put into each folder of objects in ``parent``, the longest ago first."""
    prefix = copy.object_of(parent)
    changed: dict[str, datetime] = {}
    for name, when in copy.bucket.changes(prefix):
        folder, slash, _ = name.removeprefix(f"{prefix}/").partition("/")
        if slash:
            changed[folder] = max(when, changed.get(folder, when))
    return dict(sorted(changed.items(), key=lambda each: each[1]))


def delete_oldest(copy: WorkingCopy, parent: Path, keep: int, used: Collection[str]) -> None:
    """Delete all folders in ``parent`` but the newest and those that are ``used``."""
    for folder in [*folders_of(copy, parent)][:-keep]:
        if folder not in used:
            copy.delete(parent / folder)


def delete_unread(copy: WorkingCopy, parent: Path, days: int) -> None:
    """Delete the folders in ``parent`` into which nothing was put, nor a mark of being read, for so many days."""
    if folders := folders_of(copy, parent):
        oldest = copy.clock() - timedelta(days=days)
        for folder, changed in folders.items():
            if changed < oldest:
                copy.delete(parent / folder)
