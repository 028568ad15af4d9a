"""The text of a file in whatever encoding it is, or why it has none."""

import codecs
import re

_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_DECLARED = re.compile(rb"""<meta[^>]{0,200}charset=["']?\s*([\w.:-]+)""", re.IGNORECASE)


class UnreadableError(ValueError):
    """A file holds no document; ``reason`` is what it is counted under."""

    def __init__(self, reason: str, problem: str) -> None:
        super().__init__(problem)
        self.reason = reason


def decoded(content: bytes, suffix: str = "") -> str:
    """Return a text: by its byte-order mark, as UTF-8, as its page declares, or in the encoding that fits it best.

    Raises
    ------
    UnreadableError
        It is empty or binary, or no encoding fits.
    """
    if not content.strip():
        raise UnreadableError("empty", "it is empty")
    marked = next((name for mark, name in _MARKS.items() if content.startswith(mark)), None)
    if marked is None and b"\0" in content:
        raise UnreadableError("binary", "it is no text")
    declared = _DECLARED.search(content[:4_096]) if suffix.startswith((".htm", ".xhtm")) else None
    for encoding in (marked or "utf-8", declared[1].decode() if declared else None):
        try:
            return content.decode(encoding).replace("\r\n", "\n") if encoding else _guessed(content)
        except (UnicodeDecodeError, LookupError):
            continue
    return _guessed(content)


def _guessed(content: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(content[:100_000], threshold=0.1).best()
    if best is None:
        raise UnreadableError("unknown_encoding", "it is not UTF-8, and no other encoding fits")
    try:
        return content.decode(best.encoding).replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise UnreadableError("unknown_encoding", f"it is not UTF-8, and not all of it {best.encoding}") from error
