"""A folder of documents as a corpus of passages; files that hold no document are counted and named, not fatal."""

import hashlib
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import polars as pl

from conan_assets.data.converter import CONVERTED
from conan_assets.data.decoding import UnreadableError
from conan_assets.data.document_files import TABLES, document_files
from conan_assets.data.document_text import DocumentText, read_document
from conan_assets.data.files import AnyPath, opened
from conan_assets.data.passages import cut_document
from conan_assets.data.personal_data import without_personal_data
from conan_assets.data.readers import read_table
from conan_assets.data.settings import DocumentFiles, HubDocumentsSource, PersonalData
from conan_assets.data.tables import CORPUS, Table, TableError, check_table
from conan_assets.data.text import cleaned, text_key
from conan_assets.progress import Progress

logger = logging.getLogger("conan_assets")

DOCUMENT_ROWS = Table(
    "documents", {"_id": pl.String, "title": pl.String, "text": pl.String}, required=("text",), key=()
)
CONVERTED_BYTES = 20
"""How many bytes of a PDF or its like are taken to hold one of text, at most."""

NAMED_FILES = 5
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")
"""Which a file's name may hold, and an id may not."""


def read_documents(name: str, settings: DocumentFiles) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return (CORPUS of passages in their order, report); ids are ``<name>:<document>#<digest of title and text>``.

    A text that several documents have is a passage of the one with the fewest. The report counts files, documents and
    passages, and names the files that hold no document by reason.

    Raises
    ------
    TableError
        Nothing is there, or no file holds a document with text.
    """
    files, left_out = document_files(name, settings), list[dict[str, str]]()
    documents, rows = 0, list[dict[str, str]]()
    progress = Progress("reading documents", len(files))
    for place, path in files.items():
        try:
            for document_place, document in _documents(path, place, settings):
                documents += 1
                rows += passages_of(name, document_place, document, settings)
        except (UnreadableError, TableError) as error:
            reason = error.reason if isinstance(error, UnreadableError) else "not_readable"
            left_out.append({"file": place, "reason": reason, "problem": str(error)[:200]})
        progress.advance()
    if not rows:
        first = f"; the first: {left_out[0]['file']}: {left_out[0]['problem']}" if left_out else ""
        raise TableError(f"source {name}: none of {len(files):,} files holds a document with text{first}")
    corpus, report = corpus_of_passages(name, rows, settings.personal_data)
    (counted,) = report["documents"]
    counted |= {"files": len(files), "documents": documents, "files_left_out": len(left_out)}
    if left_out:
        logger.warning("source %s: %d files are left out: %s", name, len(left_out), _by_reason(name, left_out))
    return corpus, report | {"files_left_out": _by_reason(name, left_out)}


def corpus_of_passages(
    name: str, rows: list[dict[str, str]], personal_data: Sequence[PersonalData]
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return (CORPUS, report) of the passages of all documents: without personal data, each text once."""
    corpus = pl.DataFrame(rows, schema=dict(CORPUS.columns)).with_columns(text=cleaned(pl.col("text")))
    corpus, taken_out = without_personal_data(corpus, personal_data, "title", "text")
    corpus = corpus.with_columns(text=cleaned(pl.col("text")))
    distinct = _distinct(corpus.filter(pl.col("text") != ""))
    counted = {"passages": distinct.height, "repeated_passages": corpus.height - distinct.height}
    report = {
        "documents": [{"source": name, **counted}],
        "personal_data_taken_out": [{"source": name, **row} for row in taken_out],
    }
    return check_table(distinct, CORPUS, f"source {name}"), report


def _distinct(corpus: pl.DataFrame) -> pl.DataFrame:
    """Return each text once: where the document has the fewest passages, for a page of a book is more than the book."""
    size = pl.len().over(document_of(pl.col("doc_id")))
    rows = corpus.with_row_index("row").with_columns(size=size, key=text_key(pl.col("text")))
    return rows.sort("size", "row").unique("key", keep="first", maintain_order=True).sort("row").select(corpus.columns)


def document_of(doc_id: pl.Expr) -> pl.Expr:
    """Return the document of a passage, by its id: what stands before the digest."""
    return doc_id.str.replace(r"#[0-9a-f]+$", "")


def _documents(path: AnyPath, place: str, settings: DocumentFiles) -> Iterator[tuple[str, DocumentText]]:
    """Yield each document of a file and its place: one, or a table's rows."""
    suffix = path.suffix.lower()
    if suffix in TABLES:
        table = read_table(path, DOCUMENT_ROWS, settings.columns, settings.max_text_bytes)
        yield from ((f"{place}/{own}", document) for own, document in documents_of(table))
        return
    with opened(path) as file:
        limit = settings.max_text_bytes * (CONVERTED_BYTES if suffix in CONVERTED else 1)
        content = file.read(limit + 1)
    if len(content) > limit:
        raise UnreadableError("too_large", f"it has more than {limit:,} bytes; raise max_text_bytes to read it")
    document = read_document(suffix, content)
    yield place, replace(document, title=document.title or _called(place))


def documents_of(table: pl.DataFrame) -> Iterator[tuple[str, DocumentText]]:
    """Yield the id, or a digest of the text without one, and the document of each row of DOCUMENT_ROWS with a text.

    A document without a title has its id as its title, and none without an id.
    """
    for identifier, title, text in table.select("_id", "title", "text").iter_rows():
        if text and text.strip():
            place = identifier or hashlib.sha256(text.encode()).hexdigest()[:12]
            yield place, DocumentText(title or (_called(identifier) if identifier else ""), text)


def _called(place: str) -> str:
    return PurePosixPath(place).stem.replace("_", " ").replace("-", " ")


def passages_of(
    name: str, place: str, document: DocumentText, settings: DocumentFiles | HubDocumentsSource
) -> list[dict[str, str]]:
    """Return the passages of a document as rows of CORPUS."""
    sizes = settings.passage_chars, settings.overlap_chars, settings.min_passage_chars
    return [
        {
            "doc_id": CONTROL_CHARACTERS.sub(" ", f"{name}:{place}#{passage.digest}"),
            "dataset": name,
            "title": passage.title,
            "text": passage.text,
        }
        for passage in cut_document(document, *sizes)
    ]


def _by_reason(name: str, left_out: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Return how many files each reason leaves out, and the first of them."""
    reasons: dict[str, list[dict[str, str]]] = {}
    for file in left_out:
        reasons.setdefault(file["reason"], []).append(file)
    return [
        {
            "source": name,
            "reason": reason,
            "files": len(files),
            "first": "; ".join(f"{file['file']}: {file['problem']}" for file in files[:NAMED_FILES]),
        }
        for reason, files in reasons.items()
    ]
