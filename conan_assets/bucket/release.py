"""The release in use: a folder of objects, and an object of its own that names it."""

from pathlib import Path

from conan_assets.bucket.working_copy import bring, working_copy_of
from conan_assets.files import point
from conan_assets.manifest import named_in

COMPLETE = "complete"
"""What the name of an object begins with that says that a release is whole."""


def take_up_release(pointer: Path, last_published: Path) -> None:
    """Let the link ``pointer`` of a working copy name the release that its bucket names, and bring that one.

    ``last_published``, which lies beside the releases and tells one that was withdrawn, comes with it.
    """
    copy = working_copy_of(pointer)
    found = copy.bucket.get(copy.object_of(pointer)) if copy else None
    name = named_in(found.content) if found else ""
    if copy is None or not name:
        return
    release = bring_release(last_published.with_name(name))
    if pointer.resolve() != release.resolve():
        point(pointer, release)
    last_published.unlink(missing_ok=True)
    bring(last_published)


def put_release(release: Path, pointer: Path, last_published: Path) -> None:
    """Put a release into the bucket of its working copy, if there is one, then let the bucket's pointer name it."""
    if copy := working_copy_of(release):
        whole = f"{COMPLETE}/{release.name}"
        copy.bucket.delete([whole])
        copy.put(release)
        copy.bucket.put(whole, b"")
        copy.put(last_published)
        copy.bucket.settle(copy.object_of(pointer), lambda _: release.name.encode())


def bring_release(release: Path) -> Path:
    """Return the folder of a release, fetched if it is not there and the bucket of its home has all of it."""
    if not release.exists() and (copy := working_copy_of(release)) and copy.bucket.get(f"{COMPLETE}/{release.name}"):
        copy.fetch_whole(release)
    return release
