"""Blocks, headings and links of the Markdown files of the project, as the tests of the documentation read them."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted(path for path in ROOT.glob("*.md") if path.name != "README.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))

UNCHECKED = re.compile(r"<!-- unchecked: (.+) -->")
"""Stands on the line above a block that no test can validate or run, with the reason; readers do not see it."""

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, the line of its first line of content, its language, text, and why it is unchecked."""

    page: Path
    line: int
    language: str
    text: str
    unchecked: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT) if self.page.is_relative_to(ROOT) else self.page.name}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page in their order."""
    content = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(content):
        above = content[: found.start()].splitlines()
        mark = UNCHECKED.fullmatch(above[-1].strip()) if above else None
        line = content.count("\n", 0, found.start(3)) + 1
        yield Block(page, line, found[2], textwrap.dedent(found[3]), mark[1] if mark else None)


def prose_of(page: Path) -> str:
    """Return a page without its blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors_of(page: Path) -> set[str]:
    """Return the names that links to the headings of a page end in, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
