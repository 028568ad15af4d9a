"""Which version of each key a run reads: the one it made, reused or read first, whatever other runs make meanwhile."""

from collections.abc import Iterator
from pathlib import Path

from conan_assets.files import temporary_path
from conan_assets.manifest import read_pointer


class RunNotes:
    """The notes of one run in a folder of its own, beside those of the other runs of a home."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def version_of(self, key: str) -> str:
        """Return the fingerprint of the version of ``key`` that the run reads, "" as long as it has read none."""
        return read_pointer(self._folder / key)

    def note(self, key: str, version: str) -> None:
        """Note the version that the run reads from now on; it need not survive a power cut, which ends the run."""
        if self.version_of(key) != version:
            note = self._folder / key
            note.parent.mkdir(parents=True, exist_ok=True)
            temporary_path(note).write_text(version)
            temporary_path(note).replace(note)

    def of_all_runs(self, key: str) -> Iterator[str]:
        """Yield the version of ``key`` that each run of the home reads."""
        return map(read_pointer, self._folder.parent.glob(f"*/{key}"))
