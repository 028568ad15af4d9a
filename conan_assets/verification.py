"""Check a storage root as ``git fsck`` checks a repository: every file against the digest that was written with it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from conan_assets.bucket.verification import damaged_objects
from conan_assets.bucket.working_copy import working_copy_of
from conan_assets.cleaning import EMBEDDINGS, EVALUATIONS, POINTER, RELEASES
from conan_assets.encoding.rows import StoredRows
from conan_assets.integrity import DamagedError, require_intact, set_aside, unseal
from conan_assets.llm.journal import AnswerJournal, JournalError
from conan_assets.manifest import FINISHED, read_manifest

ASSETS = "assets"
JOURNAL = "journal"
RELEASE_FOLDER = "model"


@dataclass(frozen=True)
class Problem:
    """Something that is not what was written.

    Attributes
    ----------
    message
        The file, and what is wrong with it.
    repair
        Sets it aside, so that the next run makes it again; None where that would lose what was paid for.
    """

    message: str
    repair: Callable[[], object] | None


def verify(root: Path) -> Iterator[Problem]:
    """Yield what is damaged below the storage root of a programme, and in its bucket; all that a run wrote is read."""
    if copy := working_copy_of(root):
        yield from (Problem(*each) for each in damaged_objects(copy, root / ASSETS))
    yield from _artifacts(root / ASSETS)
    for folder in sorted((root / EMBEDDINGS).glob("*-float*")):
        rows = StoredRows(folder, np.dtype(folder.name.rpartition("-")[2]))
        yield from (Problem(message, rows.repair) for message in rows.damaged())
    for file in sorted((root / EVALUATIONS).glob("*/*.json")):
        yield from _problems(file, root, partial(_require_evaluation, file))
    for folder in sorted(path for path in (root / RELEASES).glob("*") if path.is_dir()):
        yield from _problems(folder, root, partial(_require_release, root / ASSETS / POINTER / folder.name, folder))
    for file in root.glob("source_digests.json"):
        yield from _problems(file, root, partial(unseal, file))
    for file in sorted((root / JOURNAL).glob("*.jsonl")):
        try:
            AnswerJournal.answers_in(file)
        except JournalError as error:
            yield Problem(str(error), None)


def _problems(path: Path, home: Path, require: Callable[[], object], *with_it: Path) -> Iterator[Problem]:
    try:
        require()
    except DamagedError as error:
        yield Problem(str(error), partial(_set_aside, (path, *with_it), home))


def _set_aside(paths: Iterable[Path], home: Path) -> None:
    for path in paths:
        set_aside(path, home)


def _artifacts(root: Path) -> Iterator[Problem]:
    for pointer in sorted(root.rglob("current")):
        named = pointer.read_bytes().decode(errors="replace").strip() if pointer.is_file() else "no version"
        for folder in sorted(path for path in pointer.parent.iterdir() if path.is_dir()):
            if FINISHED.fullmatch(folder.name):
                with_it = (pointer,) if folder.name == named else ()
                yield from _problems(folder, root.parent, partial(_require_version, folder), *with_it)
        if not FINISHED.fullmatch(named) or not (pointer.parent / named).exists():
            message = f"{pointer} names {named!r}, and no such version is there"
            yield Problem(message, partial(set_aside, pointer, root.parent))


def _require_version(folder: Path) -> None:
    require_intact(folder, read_manifest(folder).parts)


def _require_evaluation(file: Path) -> None:
    require_intact(file.parent, {file.with_suffix(".queries.parquet").name: unseal(file)["queries"]})


def _require_release(made: Path, folder: Path) -> None:
    """Compare a release with the digests of the output that it is a copy of, as long as that is kept."""
    parts = read_manifest(made).parts if made.exists() else {}
    prefix = f"{RELEASE_FOLDER}/"
    require_intact(
        folder, {name.removeprefix(prefix): digest for name, digest in parts.items() if name.startswith(prefix)}
    )
