"""Tables out of tab-separated values, where a quote may be a quote or a character of its cell."""

from collections.abc import Iterator
from typing import BinaryIO

from conan_assets.data.intake import Intake
from conan_assets.data.lines import decoded, lines
from conan_assets.data.separated import QuoteError, quoted_rows, take_rows
from conan_assets.data.tables import TableError


def take_tab_separated(file: BinaryIO, intake: Intake) -> None:
    """Take in a line a row, or quoted cells that hold tabs and line ends.

    Where every line has the same number of cells, a quote is a character of its cell, unless the whole cell is quoted
    and the quotes in it are doubled.
    """
    take_rows(_rows(file, intake), intake)


def _rows(file: BinaryIO, intake: Intake) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells) of tab-separated values."""
    widths = ((number, line.count(b"\t")) for number, line in enumerate(lines(file, intake), 1) if line.strip())
    _, width = next(widths, (1, 0))
    ragged = next(((number, tabs) for number, tabs in widths if tabs != width), None)
    file.seek(0)
    if ragged is not None:
        try:
            yield from quoted_rows(lines(file, intake), "\t", intake)
        except QuoteError:
            raise TableError(
                f"{intake.source}: line {ragged[0]} has {ragged[1] + 1} cells, the header {width + 1}; put a cell that "
                "holds a tab into double quotes"
            ) from None
        return
    for number, line in enumerate(decoded(lines(file, intake), intake), start=1):
        cells = line.rstrip("\r\n").split("\t")
        if any(cell.strip() for cell in cells):
            yield number, [_unquoted(cell) for cell in cells]


def _unquoted(cell: str) -> str:
    inner = cell[1:-1]
    is_quoted = len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if is_quoted else cell
