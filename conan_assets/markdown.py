"""Markdown that shows text as it is, whatever the text holds: messages of errors, queries, documents."""

import re
from collections.abc import Iterable, Sequence

_MARKUP = re.compile(r"[\\`*\[\]<>&|~]|:(?=//)|(?<=[wW][wW][wW])\.|@(?=[\w-]+\.)|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
"""What can begin or end a link, a picture, a tag, a cell, an address or an emphasis, in CommonMark and on GitHub."""


def as_table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table of cells that are shown as they are; white space is collapsed."""
    rows = [[escaped(cell) for cell in row] for row in (head, *lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (rows[0], ["---"] * len(head), *rows[1:]))


def shortened(text: str, longest: int) -> str:
    """Return ``text`` on one line, at most ``longest`` characters of it, without what no screen or terminal prints."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def as_code(text: str) -> str:
    """Return ``text`` as a code span of one line, which no backtick in it ends."""
    line = re.sub(r"\s*[\r\n]\s*", " ", text)
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    edge = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{edge}{line}{edge}{fence}"


def escaped(text: str) -> str:
    """Return ``text`` on one line with character references for markup: CommonMark never takes those for structure."""
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", " ".join(text.split()))
