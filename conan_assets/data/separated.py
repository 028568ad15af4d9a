"""Tables out of values separated by commas, with cells in double quotes; an empty cell is null."""

import csv
from collections.abc import Iterator
from typing import Any, BinaryIO

from conan_assets.data.intake import Intake
from conan_assets.data.json_lines import texts_of_cell
from conan_assets.data.lines import batched, decoded, lines
from conan_assets.data.tables import TableError

SEPARATORS = (";", "\t", "|", ",")
"""What stands between the cells of files that are called otherwise."""


class QuoteError(TableError):
    """The double quotes of separated values do not match."""


def take_comma_separated(file: BinaryIO, intake: Intake) -> None:
    """Take in cells in double quotes where need be (RFC 4180)."""
    take_rows(quoted_rows(lines(file, intake), ",", intake), intake)


def take_rows(rows: Iterator[tuple[int, list[str]]], intake: Intake) -> None:
    """Take in rows of cells, each with the number of its line, the header first; an empty cell is null."""
    _, header = next(rows, (1, []))
    for name in intake.wanted(header):
        if header.count(name) > 1:
            raise TableError(f"{intake.source}: the header names the column {name!r} twice; rename one of them")
    other = next((sign for sign in SEPARATORS if len(header) == 1 and sign in header[0]), None)
    if other is not None:
        raise TableError(
            f"{intake.source}: the header {header[0][:80]!r} is one cell and holds {other!r}; save the file with "
            "commas between its cells as .csv, or with tabs as .tsv"
        )
    intake.see(header)
    places = {name: header.index(name) for name in intake.wanted(header)}
    first = 1
    for part in batched(rows):
        for row, (line, cells) in enumerate(part, start=first):
            if len(cells) != len(header):
                raise TableError(
                    f"{intake.source}: row {row} (line {line}): {_counted(cells, 'cell')} under "
                    f"{_counted(header, 'column')}; put a cell that holds the separator into double quotes"
                )
        columns: dict[str, list[Any]] = {
            name: [cells[place] or None for _, cells in part] for name, place in places.items()
        }
        for name in filter(intake.takes_lists, columns):
            columns[name] = [
                texts_of_cell(cell, row, name, intake) for row, cell in enumerate(columns[name], start=first)
            ]
        intake.add(columns, len(part))
        first += len(part)


def _counted(things: list[str], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def quoted_rows(encoded: Iterator[bytes], separator: str, intake: Intake) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells) of separated values with cells in double quotes where need be (RFC 4180)."""
    csv.field_size_limit(max(csv.field_size_limit(), intake.max_text_bytes))
    reader = csv.reader(decoded(encoded, intake), delimiter=separator, strict=True)
    row = 0
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            place = f"row {row} (line {line})" if row else "the header"
            if "new-line" in str(error):
                raise TableError(
                    f"{intake.source}: {place}: a carriage return stands alone; save the file with line feeds"
                ) from None
            raise QuoteError(
                f"{intake.source}: {place}: a double quote that opens a cell is never closed, or one within it is not "
                f"doubled ({error}); correct the quotes"
            ) from None
        if any(cell.strip() for cell in cells):
            yield line, cells
            row += 1
