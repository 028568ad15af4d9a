"""Tables out of JSON lines, and lists of texts out of cells that hold JSON."""

import itertools
import json
import re
from typing import Any, BinaryIO

from conan_assets.data.intake import Intake
from conan_assets.data.lines import batched, lines
from conan_assets.data.tables import TableError
from conan_assets.strict_json import decode

LIKE_A_LIST = re.compile(r"""\["|\['.*'\]$""", re.DOTALL)
"""JSON that is broken, or what Python and numpy print of a list."""


def take_jsonl(file: BinaryIO, intake: Intake) -> None:
    """Take in an object a row; a blank line is none."""
    given = ((number, line) for number, line in enumerate(lines(file, intake), start=1) if line.strip())
    for part in batched(given):
        rows = [_json_row(line, number, intake.source) for number, line in part]
        columns = dict.fromkeys(itertools.chain.from_iterable(rows))
        intake.see(columns)
        intake.add({name: [row.get(name) for row in rows] for name in intake.wanted(columns)}, len(rows))


def _json_row(line: bytes, number: int, source: str) -> dict[str, Any]:
    try:
        row = decode(line.decode().strip())
    except UnicodeDecodeError:
        raise TableError(f"{source}: line {number} is not UTF-8; save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise TableError(
            f"{source}: line {number} is not JSON ({error.msg} at character {error.pos + 1}); write one object a line"
        ) from None
    except RecursionError:
        raise TableError(f"{source}: line {number} is nested too deep; take that value out") from None
    if not isinstance(row, dict):
        raise TableError(f"{source}: line {number} is not a JSON object; write one object a line, or remove it")
    return row


def texts_of_cell(cell: str | None, row: int, name: str, intake: Intake) -> str | list[str] | None:
    """Return the texts of a cell that is a JSON list, in a format without lists; another cell is one text."""
    written = (cell or "").strip()
    if not written.startswith("["):
        return cell
    try:
        texts = json.loads(written)
    except (ValueError, RecursionError):
        if not LIKE_A_LIST.match(written):
            return cell
        texts = None
    if isinstance(texts, list) and all(isinstance(text, str) for text in texts):
        return texts
    raise TableError(
        f'{intake.source}: row {row}: column {name} ({written[:80]!r}) is not a JSON list of texts, such as ["a", "b"]'
    )
