"""Finished versions in a bucket: parts first, the manifest that names them next, the pointer last.

What has no manifest is not there. Whoever uploads or deletes holds the key's lease; whoever reads compares every part
with its digest before the version gets its name in the working copy.
"""

import shutil
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from conan_assets.bucket.lease import Lease, leased
from conan_assets.bucket.working_copy import WorkingCopy
from conan_assets.files import flush_tree, remove_folder, temporary_path
from conan_assets.integrity import DAMAGED, DamagedError, require_intact, seal, unseal_bytes
from conan_assets.manifest import CURRENT, FINISHED, MANIFEST, Manifest, named_in, parse_manifest, read_manifest

LEASE = "lease"
WRITER = "writer"
"""Object in a partial version that names the working copy which got furthest with it."""


class PublishedVersions:
    """The finished versions below a working copy that its bucket holds, each by the folder that it is or would be."""

    def __init__(self, copy: WorkingCopy) -> None:
        self.copy = copy

    def manifest(self, version: Path) -> Manifest | None:
        """Return the manifest of a version, or None: it is not there. A damaged one is put aside and not there."""
        name = self.copy.object_of(version / MANIFEST)
        found = self.copy.bucket.get(name)
        if found is None:
            return None
        try:
            return parse_manifest(unseal_bytes(found.content, name), name)
        except DamagedError:
            self.put_aside(version)
            return None

    def current(self, key: Path) -> str:
        """Return the fingerprint of a key's version that was finished or reused last, "" without one."""
        found = self.copy.bucket.get(self.copy.object_of(key / CURRENT))
        return named_in(found.content) if found else ""

    def newest_besides(self, version: Path) -> int:
        """Return the order of its key's current version, which is the highest; 0 if that is ``version`` or none."""
        current = self.current(version.parent)
        manifest = self.manifest(version.parent / current) if current not in ("", version.name) else None
        return manifest.order if manifest else 0

    def leased(self, key: Path) -> AbstractContextManager[Lease]:
        """Hold a key while the body runs; raise ArtifactError if another machine does."""
        name = self.copy.object_of(key).partition("/")[2]
        what = f"materializing {name} under {self.copy.bucket.address}"
        return leased(self.copy, self.copy.object_of(key / LEASE), what)

    def has_parts(self, version: Path, manifest: Manifest) -> bool:
        """Return whether the bucket has a version with these parts."""
        there = self.manifest(version)
        return there is not None and there.parts == manifest.parts

    def publish(self, version: Path, manifest: Manifest, lease: Lease | None) -> None:
        """Put into the bucket what it lacks of a finished version of the working copy, then point to it.

        Parts are put there under the ``lease`` on its key alone: what another has put there meanwhile is replaced, as
        long as the lease is held.
        """
        if lease and not self.has_parts(version, manifest):
            lease.require()
            self._upload(version, manifest)
            lease.require()
        if self.manifest(version) != manifest:
            sealed = seal(manifest.model_dump()).encode()
            self.copy.bucket.put(self.copy.object_of(version / MANIFEST), sealed)
        pointer = self.copy.object_of(version.parent / CURRENT)
        self.copy.bucket.settle(pointer, lambda _: self._pointer_to(version, lease))

    def fetch(self, version: Path) -> None:
        """Bring a version into the working copy, whole or not at all, if it is not there and the bucket has it.

        Raises
        ------
        DamagedError
            A part is not what was written; the version is put aside in the bucket.
        """
        manifest = None if version.exists() else self.manifest(version)
        if manifest is None:
            return
        try:
            with self._downloaded(version, manifest) as temporary:
                (temporary / MANIFEST).write_text(seal(manifest.model_dump()), encoding="utf-8")
                flush_tree(temporary)
                if not version.exists():
                    temporary.rename(version)
        except DamagedError:
            self.put_aside(version)
            raise

    def check(self, version: Path) -> None:
        """Read a version's objects; raise DamagedError, which names one, if it is not what was written."""
        if manifest := self.manifest(version):
            with self._downloaded(version, manifest):
                pass

    def put_aside(self, version: Path) -> None:
        """Let a version be there no more; a person finds its manifest, and its parts until they are pruned."""
        name = self.copy.object_of(version / MANIFEST)
        if found := self.copy.bucket.get(name):
            self.copy.bucket.put(f"{DAMAGED}/{name}", found.content)
            self.copy.bucket.delete([name])

    @contextmanager
    def _downloaded(self, version: Path, manifest: Manifest) -> Iterator[Path]:
        """Yield a folder of the parts of a version, compared with their digests."""
        temporary = temporary_path(version)
        temporary.mkdir(parents=True, exist_ok=True)
        try:
            for part in manifest.parts:
                if not (temporary / part).resolve().is_relative_to(temporary.resolve()):
                    raise DamagedError(f"{temporary / MANIFEST} names {part}, which lies elsewhere")
                self.copy.bucket.download(self.copy.object_of(version / part), temporary / part)
            require_intact(temporary, manifest.parts)
            yield temporary
        except DamagedError as error:
            place = f"{self.copy.bucket.address}/{self.copy.object_of(version)}"
            raise DamagedError(str(error).replace(str(temporary), place)) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def take_up_partial(self, partial: Path) -> None:
        """Take what the last attempt on another machine left of a version in place of what is here."""
        writer = self.copy.bucket.get(self.copy.object_of(partial / WRITER))
        if writer is not None and writer.content.decode() != self.copy.name:
            shutil.rmtree(partial)
            self.copy.fetch(partial)

    def drop_outdated(self, version: Path) -> None:
        """Delete a version of the working copy if the bucket has one of its name with other parts."""
        there = self.manifest(version) if version.exists() else None
        try:
            is_outdated = there is not None and read_manifest(version).parts != there.parts
        except DamagedError:
            return  # whoever checks it sets it aside
        if is_outdated:
            remove_folder(version)

    def prune(self, key: Path, keep: int, used: Collection[str]) -> None:
        """Delete the oldest versions of a leased key that are not ``used``, and what was never finished."""
        names = [name for name in self.copy.names(key) if "/" in name]
        other_keys = {name.partition("/")[0] for name in names if name.rpartition("/")[2] in (CURRENT, LEASE)}
        folders = {name.partition("/")[0] for name in names} - other_keys
        manifests = {folder: self.manifest(key / folder) for folder in folders if FINISHED.fullmatch(folder)}
        orders = sorted((made.order, folder) for folder, made in manifests.items() if made)
        kept = {folder for _, folder in orders[-keep:]} | {*used}
        doomed = [key / folder for folder in sorted(folders - kept)]
        self.copy.bucket.delete(self.copy.object_of(folder / MANIFEST) for folder in doomed)
        for folder in doomed:
            self.copy.delete(folder)

    def _upload(self, version: Path, manifest: Manifest) -> None:
        self.copy.bucket.delete([self.copy.object_of(version / MANIFEST)])
        for part in manifest.parts:
            self.copy.put(version / part)

    def _pointer_to(self, version: Path, lease: Lease | None) -> bytes:
        if lease is not None:
            lease.require()
        return version.name.encode()
