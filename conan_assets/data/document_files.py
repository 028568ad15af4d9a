"""Which files a documents source reads, and a fingerprint of them that changes with any of them."""

from pathlib import PurePosixPath

from conan_assets.artifacts import fingerprint
from conan_assets.data.digests import Digest
from conan_assets.data.document_text import READABLE
from conan_assets.data.files import AnyPath, fingerprint_content, naming, open_folder
from conan_assets.data.passages import PASSAGES_VERSION
from conan_assets.data.settings import DocumentFiles
from conan_assets.data.tables import TableError

TABLES = (".parquet", ".jsonl")
GLOB_CHARACTERS = frozenset("*?[")


def fingerprint_documents(name: str, settings: DocumentFiles, digest: Digest) -> str:
    """Return a fingerprint of the names and the content of all files, and of how they are cut."""
    files = document_files(name, settings)
    contents = {place: _fingerprint_file(path, digest) for place, path in files.items()}
    return fingerprint(contents, PASSAGES_VERSION)


def document_files(name: str, settings: DocumentFiles) -> dict[str, AnyPath]:
    """Return the files to read by their place below the folder, sorted; raise TableError if there is none."""
    base, pattern = _base_and_pattern(settings.path)
    folder = open_folder(name, base)
    with naming(folder):
        found = {
            path.relative_to(str(folder)).as_posix().encode(errors="replace").decode(): path
            for path in folder.glob(pattern)
            if path.is_file()
        }
    files = {
        place: found[place]
        for place in sorted(found)
        if found[place].suffix.lower() in (*READABLE, *TABLES) and not any(p.startswith(".") for p in place.split("/"))
    }
    if not files:
        raise TableError(
            f"source {name}: {settings.path} holds no file {', '.join((*READABLE, *TABLES))}; correct "
            f"sources.{name}.path"
        )
    return files


def _base_and_pattern(path: str) -> tuple[str, str]:
    """Return the folder above the first part with a wildcard, or above a file, and the pattern of the files below it.

    Of a folder these are all of its files.
    """
    parts = path.split("/")
    names = (number for number, part in enumerate(parts) if GLOB_CHARACTERS & set(part))
    first = next(names, len(parts) - 1 if PurePosixPath(path).suffix.lower() in (*READABLE, *TABLES) else None)
    if first is None:
        return path, "**/*"
    return "/".join(parts[:first]) or ("/" if path.startswith("/") else "."), "/".join(parts[first:])


def _fingerprint_file(path: AnyPath, digest: Digest) -> str:
    try:
        return fingerprint_content(path, digest)
    except (OSError, TableError) as error:
        return f"not readable: {type(error).__name__}"
