"""JSON read so that nothing in it is lost without a word: a key that stands twice in an object, a number too long."""

import json
import re
from dataclasses import dataclass
from typing import Any

MOST_DIGITS = 1_000
"""Of a whole number; Python reads and prints no more than a few thousand."""


@dataclass(frozen=True)
class Unreadable:
    """What stands in place of a value that is none: nothing that is checked takes it for one.

    Attributes
    ----------
    what
        What was found, in words.
    """

    what: str


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object whose repeated keys hold no value: which of them was meant, nobody knows."""
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                values[key] = Unreadable("two values, as its key stands twice")
            seen.add(key)
    return values


def _whole(digits: str) -> int | Unreadable:
    return int(digits) if len(digits) <= MOST_DIGITS else Unreadable("a number of thousands of digits")


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_whole)
LENIENT_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_whole, strict=False)
"""They raise ValueError, or RecursionError; the lenient one takes line ends and tabs within a text as they stand."""

_HALF = re.compile("[\ud800-\udfff]")
_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def decode(text: str) -> object:
    r"""Return what JSON text holds, U+FFFD for half a surrogate pair (``\ud83d``); raise as DECODER does."""
    value = DECODER.decode(text)
    return whole_characters(value) if _ESCAPED_HALF.search(text) else value


def whole_characters(value: object) -> object:
    """Return a value with U+FFFD for every half of a surrogate pair in it that lacks its other half."""
    match value:
        case str() if _HALF.search(value):
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case list():
            return [whole_characters(item) for item in value]
        case dict():
            return {whole_characters(key): whole_characters(item) for key, item in value.items()}
    return value
