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


Item = TypeVar("Item")


def lines(file: BinaryIO, intake: Intake) -> Iterator[bytes]:
    """Yield the lines of a text file as UTF-8, without its byte-order mark."""
    head = file.read(4)
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
