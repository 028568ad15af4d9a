"""Tables in Markdown that stay tables whatever text is in their cells: messages of errors, queries, documents."""

from collections.abc import Iterable, Sequence


def as_table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; what would end a cell or begin a tag is escaped, white space is collapsed."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(map(_escaped, row)) + " |" for row in rows)


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
