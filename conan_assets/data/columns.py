"""What the cells of a user's column become: texts, lists of texts, numbers or times, whatever types they came in.

A whole number or a truth value is read as its text, a text as a list of one, a number in quotes as a number, a
dictionary column as what it stands for, a date, ISO 8601 or a Unix time as a point in time. NaN, as pandas and Python
write what is missing, is no text. Anything else is an error: nothing is cut, rounded or put into other words.
"""

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars as pl

from conan_assets.strict_json import Unreadable

Cells = pl.Series | list[Any]
Dtype = pl.DataType | type[pl.DataType]

TEXTS = pl.List(pl.String)
TIME = pl.Datetime("us", "UTC")
LARGEST_EXACT_FLOAT = 2**53
LARGEST_EXACT: dict[type[pl.DataType], int] = {pl.Float16: 2**11, pl.Float32: 2**24}
"""Beyond it a float may be another whole number than was meant."""
NUMERAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf|infinity)|nan", re.IGNORECASE | re.ASCII)
UNIX_UNITS = {10**8: 1, 10**11: 10**3, 10**14: 10**6, 10**17: 10**9}
"""Of a Unix time the parts of a second it counts, by the least number that is taken for such a time."""
LARGEST_UNIX = 10**20
MOST_BITS = 4_096
"""Of a whole number that is read as a text; Python refuses to print much longer ones."""


class CellError(ValueError):
    """A cell does not fit its column: ``row`` counts from 0, the message says what the cell holds."""

    def __init__(self, row: int, problem: str) -> None:
        super().__init__(problem)
        self.row = row


def converted(cells: Cells, dtype: Dtype) -> pl.Series:
    """Return ``cells`` as a series of ``dtype``: ``pl.String``, TEXTS, TIME, a number or ``pl.Boolean``.

    Raises
    ------
    CellError
        A cell holds something else.
    """
    if isinstance(cells, list):
        if not set(map(type, cells)) <= {str, type(None)}:
            return _cell_by_cell(cells, dtype)
        cells = pl.Series(cells, dtype=pl.String)
    found = cells.dtype
    if found == dtype:
        return cells
    if dtype == pl.String and (found in (pl.Null, pl.Categorical, pl.Enum) or found.is_integer()):
        return cells.cast(pl.String)
    if dtype == TEXTS and found in (pl.String, pl.Null):
        one = pl.col("cells").cast(pl.String)
        return cells.to_frame("cells").select(pl.when(one.is_not_null()).then(pl.concat_list(one))).to_series()
    if dtype == TIME:
        return _times(cells)
    if dtype in (pl.String, TEXTS):
        _require_exact(cells)
        return _cell_by_cell(cells.to_list(), dtype)
    return _numbers(cells, dtype)


def too_long(texts: pl.Series, max_bytes: int) -> int | None:
    """Return the first row of a column of texts or lists of texts with a longer text, in bytes; None without one."""
    if texts.dtype == TEXTS:
        lengths = texts.list.eval(pl.element().str.len_bytes()).list.max()
    elif texts.dtype == pl.String:
        lengths = texts.str.len_bytes()
    else:
        return None
    rows = (lengths > max_bytes).arg_true()
    return int(rows[0]) if len(rows) else None


def _require_exact(cells: pl.Series) -> None:
    """Raise CellError about a number whose type has too few digits for it; ids are cut so."""
    largest = LARGEST_EXACT.get(type(cells.dtype))
    for row in (cells.abs() > largest).arg_true().head(1) if largest else ():
        raise CellError(
            row, f"holds {cells[row]:.0f} as a {cells.dtype}, which rounds such numbers; write it as a text"
        )


def _numbers(cells: pl.Series, dtype: Dtype) -> pl.Series:
    found = cells.dtype
    if found in (pl.String, pl.Categorical, pl.Enum) and dtype != pl.Boolean:
        cells = cells.cast(pl.String).str.strip_chars()
    elif not (found.is_numeric() or found in (pl.Boolean, pl.Null)):
        return _cell_by_cell(cells.to_list(), dtype)
    numbers = cells.cast(dtype, strict=False)
    lost = cells.is_not_null() & numbers.is_null()
    if dtype.is_integer() and found.is_float():
        lost |= (numbers != cells).fill_null(False)
    for row in lost.arg_true().head(1):
        raise CellError(row, f"({cells[row]!r}) is not a {'whole ' if dtype.is_integer() else ''}number")
    return numbers


def _cell_by_cell(cells: list[Any], dtype: Dtype) -> pl.Series:
    convert: Callable[[Any], Any] = {pl.String: _text, TEXTS: _texts, TIME: _time, pl.Boolean: _truth}.get(
        dtype, _number
    )
    values = []
    for row, cell in enumerate(cells):
        try:
            values.append(convert(cell))
        except ValueError as error:
            raise CellError(row, str(error)) from None
    exact = pl.Series(values, dtype=dtype if convert is not _number else pl.Float64)
    return exact.cast(dtype)


def _text(cell: object) -> str | None:
    match cell:
        case None | str():
            return cell
        case bool():
            return str(cell).lower()
        case int() if cell.bit_length() <= MOST_BITS:
            return str(cell)
        case float() if math.isnan(cell):
            return None
        case float() if cell.is_integer() and abs(cell) < LARGEST_EXACT_FLOAT:
            return str(int(cell))
        case Decimal() if cell == cell.to_integral_value():
            return str(int(cell))
    raise ValueError(f"holds {_named(cell)}, not a text")


def _texts(cell: object) -> list[str | None] | None:
    if isinstance(cell, list):
        return [_text(text) for text in cell]
    text = _text(cell)
    return None if text is None else [text]


def _number(cell: object) -> float | None:
    try:
        if isinstance(cell, str) and not NUMERAL.fullmatch(cell.strip()):
            raise ValueError
        return None if cell is None else float(cell)  # type: ignore[arg-type]
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        raise ValueError(f"holds {_named(cell)}, not a number") from None


def _times(cells: pl.Series) -> pl.Series:
    """Return points in time; one without an offset is taken to be in UTC."""
    if isinstance(cells.dtype, pl.Datetime) and cells.dtype.time_zone is not None:
        return cells.dt.convert_time_zone("UTC").cast(TIME)
    if cells.dtype in (pl.Date, pl.Datetime):
        return cells.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if cells.dtype in (pl.Categorical, pl.Enum):
        cells = cells.cast(pl.String)
    return _cell_by_cell(cells.to_list(), TIME)


def _time(cell: object) -> datetime | None:
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None
    try:
        if isinstance(cell, str) and not NUMERAL.fullmatch(cell.strip()):
            time = datetime.fromisoformat(cell.strip())
            return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        number = Decimal(str(cell)) if isinstance(cell, int | float | str) and not isinstance(cell, bool) else Decimal()
        parts = [parts for least, parts in UNIX_UNITS.items() if least <= number < LARGEST_UNIX]
        return datetime.fromtimestamp(float(number / parts[-1]), UTC)
    except (ValueError, ArithmeticError, OverflowError, IndexError):
        raise ValueError(f"holds {_named(cell)}, not a time: ISO 8601 or a Unix time") from None


def _truth(cell: object) -> bool | None:
    if cell is None or isinstance(cell, bool):
        return cell
    raise ValueError(f"holds {_named(cell)}, not true or false")


def _named(cell: object) -> str:
    match cell:
        case list():
            return "a list"
        case dict():
            return "an object"
        case bytes():
            return "bytes"
        case Unreadable():
            return cell.what
        case str():
            return f"the text {cell[:80]!r}"
        case int() if cell.bit_length() > MOST_BITS:
            return "a number of thousands of digits"
        case int() | float() | Decimal():
            return f"the number {cell}"
    return f"a {type(cell).__name__}"
