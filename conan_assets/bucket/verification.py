"""Whether the objects of a bucket are what was written: read them all, and compare them with their digests."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from conan_assets.bucket.versions import PublishedVersions
from conan_assets.bucket.working_copy import WorkingCopy
from conan_assets.integrity import DamagedError, digest_of
from conan_assets.manifest import FINISHED, MANIFEST

_NAMED_BY_CONTENT = {
    "embeddings": re.compile(r"(?P<digest>[0-9a-f]{32})-[0-9a-f]{32}\.rows|[0-9a-f]{32}-(?P<keys>[0-9a-f]{32})\.keys"),
    "journal": re.compile(r"\d{8}-(?P<digest>[0-9a-f]{32})"),
}


def damaged_objects(copy: WorkingCopy, assets: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what is wrong with an object, and what takes it out of use, for every one that is damaged."""
    versions = PublishedVersions(copy)
    for name in copy.names(assets):
        folder, _, file = name.rpartition("/")
        if file == MANIFEST and FINISHED.fullmatch(folder.rpartition("/")[2]):
            try:
                versions.check(assets / folder)
            except DamagedError as error:
                yield str(error), partial(versions.put_aside, assets / folder)
    for room, pattern in _NAMED_BY_CONTENT.items():
        for name in copy.bucket.list(room):
            named = pattern.fullmatch(name.rpartition("/")[2])
            found = copy.bucket.get(name) if named else None
            if named and found and digest_of(found.content) not in named.groups():
                yield f"{copy.bucket.address}/{name} is damaged", partial(_delete, copy, name)


def _delete(copy: WorkingCopy, name: str) -> None:
    """Delete a part whole: without its keys the rows of a part are not there."""
    copy.bucket.delete([name, f"{name.removesuffix('.rows')}.keys"])
