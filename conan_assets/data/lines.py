"""The lines of a text file in UTF-8, or in what its byte-order mark says; errors name the file and the line."""

import codecs
import contextlib
import io
import itertools
from collections.abc import Iterator
from typing import BinaryIO, TypeVar

from conan_assets.data.intake import Intake
from conan_assets.data.tables import TableError

ROWS_PER_PART = 16_384
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
"""Encodings by the mark; that of UTF-32 begins with that of UTF-16."""

OTHER_FORMATS = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"PK\x03\x04": "a ZIP archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an Excel workbook",
    b"PAR1": "Parquet",
    b"ARROW1": "Arrow",
}
"""What is not text, by its first bytes."""


Item = TypeVar("Item")


def lines(file: BinaryIO, intake: Intake) -> Iterator[bytes]:
    """Yield the lines of a text file as UTF-8, without its byte-order mark."""
    head = file.read(8)
    for start, name in OTHER_FORMATS.items():
        if head.startswith(start):
            raise TableError(f"{intake.source} is {name} and no text: unpack or convert it, or correct its suffix")
    mark = next((mark for mark in BYTE_ORDER_MARKS if head.startswith(mark)), b"")
    encoding = BYTE_ORDER_MARKS.get(mark, "utf-8")
    if not mark and b"\0" in head:
        raise TableError(f"{intake.source} is not UTF-8: it looks like UTF-16; save the file as UTF-8")
    file.seek(len(mark))
    limit = intake.max_text_bytes
    number = 0
    try:
        for number, line in enumerate(_utf8_lines(file, encoding, limit + 1), start=1):
            if len(line) > limit:
                raise TableError(
                    f"{intake.source}: line {number} has more than {limit:,} bytes; cut its texts, drop it, or raise "
                    "max_text_bytes"
                )
            if number == 1 and b"\r" in line.strip() and not line.endswith(b"\n"):
                raise TableError(
                    f"{intake.source}: a carriage return stands alone where a line ends; save the file with line feeds"
                )
            yield line
    except UnicodeError:
        raise TableError(
            f"{intake.source}: line {number + 1} is not {encoding.upper()}; save the file as UTF-8"
        ) from None


def _utf8_lines(file: BinaryIO, encoding: str, limit: int) -> Iterator[bytes]:
    if encoding == "utf-8":
        yield from iter(lambda: file.readline(limit), b"")
        return
    text = io.TextIOWrapper(file, encoding, newline="\n")
    try:
        yield from (line.encode() for line in iter(lambda: text.readline(limit), ""))
    finally:
        with contextlib.suppress(ValueError):
            text.detach()  # it would close the file


def decoded(encoded: Iterator[bytes], intake: Intake) -> Iterator[str]:
    """Yield lines of UTF-8 as text."""
    for number, line in enumerate(encoded, start=1):
        try:
            yield line.decode()
        except UnicodeDecodeError:
            raise TableError(f"{intake.source}: line {number} is not UTF-8; save the file as UTF-8") from None


def batched(rows: Iterator[Item]) -> Iterator[list[Item]]:
    """Yield rows in parts of ROWS_PER_PART."""
    while part := list(itertools.islice(rows, ROWS_PER_PART)):
        yield part
