"""Tables out of JSON lines, and lists of texts out of cells that hold JSON."""

import itertools
import json
from typing import Any, BinaryIO

from pydantic_core import from_json

from conan_assets.data.intake import Intake
from conan_assets.data.lines import batched, lines
from conan_assets.data.tables import TableError


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
        row = from_json(line, allow_inf_nan=True)
    except ValueError:
        row = _json_row_of_half_characters(line, number, source)
    if not isinstance(row, dict):
        raise TableError(f"{source}: line {number} is not a JSON object; write one object a line, or remove it")
    return row


def _json_row_of_half_characters(line: bytes, number: int, source: str) -> object:
    r"""Return what a line holds that only Python reads: half a surrogate pair, ``\ud83d``, which becomes U+FFFD."""
    try:
        return _whole_characters(json.loads(line.decode()))
    except UnicodeDecodeError:
        raise TableError(f"{source}: line {number} is not UTF-8; save the file as UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise TableError(f"{source}: line {number} is not JSON ({error}); correct or remove it") from None


def _whole_characters(value: object) -> object:
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case list():
            return [_whole_characters(item) for item in value]
        case dict():
            return {_whole_characters(key): _whole_characters(item) for key, item in value.items()}
    return value


def texts_of_cell(cell: str | None, row: int, name: str, intake: Intake) -> str | list[str] | None:
    """Return the texts of a cell that is a JSON list, in a format without lists; another cell is one text."""
    if cell is None or not cell.startswith("["):
        return cell
    try:
        texts = json.loads(cell)
    except (ValueError, RecursionError):
        if not cell.startswith('["'):
            return cell
        texts = None
    if isinstance(texts, list) and all(isinstance(text, str) for text in texts):
        return texts
    raise TableError(
        f'{intake.source}: row {row}: column {name} ({cell[:80]!r}) is not a JSON list of texts, such as ["a", "b"]'
    )
