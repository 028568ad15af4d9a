"""Documents cut into passages: where sections, paragraphs and sentences end, with the headings above as the title."""

import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from semantic_text_splitter import MarkdownSplitter, TextSplitter

from conan_assets.data.document_text import DocumentText

PASSAGES_VERSION = 2
"""Raise it when the same document is cut otherwise or its passages get other ids."""

LONGEST_TITLE = 200
ID_DIGITS = 12

_HEADING = re.compile(
    r"^(?P<fence>`{3,}|~{3,}).*?(?:^(?P=fence)|\Z)"
    r"|^[ ]{0,3}(?P<marks>\#{1,6})[ \t]+(?P<atx>[^\n]+)$"
    r"|^(?P<setext>[^\s#>|`~*+-][^\n]*)\n[ ]{0,3}(?P<line>=|-)(?P=line)*[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
"""A block of code, in which nothing is a heading, or a heading of either form."""

_HEADING_MARKS = re.compile(r"[#¶\s]+$|[`*]")
_LEADING_HEADINGS = re.compile(r"\A(?:[ ]{0,3}#{1,6}(?:[ \t].*)?(?:\n+|\Z))+")


@dataclass(frozen=True)
class Passage:
    """A passage: the headings that it stands under, its text, and an id that is the same while both are."""

    title: str
    text: str

    @property
    def digest(self) -> str:
        """Hexadecimal digits of its content."""
        return hashlib.sha256(f"{self.title}\0{self.text}".encode()).hexdigest()[:ID_DIGITS]


def cut_document(document: DocumentText, max_chars: int, overlap_chars: int, min_chars: int) -> list[Passage]:
    """Return the passages of a document in their order.

    Parameters
    ----------
    document
        Its title, if it has one, and its text in Markdown, or plain.
    max_chars, overlap_chars
        Longest passage, and how much of its end the next one repeats at most, in characters.
    min_chars
        Passages with less text than this, headings aside, are left out.
    """
    starts, titles = _paths(document.title, () if document.plain else _headings(document.text))
    passages = []
    for start, chunk in _splitter(document.plain, max_chars, overlap_chars).chunk_indices(document.text):
        text = chunk if document.plain else _LEADING_HEADINGS.sub("", chunk)
        if len(text.strip()) >= min_chars:
            title = titles[bisect_right(starts, start + len(chunk) - len(text)) - 1]
            passages.append(Passage(title, text.strip()))
    return passages


@cache
def _splitter(plain: bool, max_chars: int, overlap_chars: int) -> "MarkdownSplitter | TextSplitter":
    return (TextSplitter if plain else MarkdownSplitter)(max_chars, overlap=overlap_chars)


def _headings(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield (offset, level, heading) of a text in Markdown."""
    for match in _HEADING.finditer(text):
        if match["atx"]:
            yield match.start(), len(match["marks"]), _HEADING_MARKS.sub("", match["atx"])
        elif match["setext"]:
            yield match.start(), 1 if match["line"] == "=" else 2, _HEADING_MARKS.sub("", match["setext"])


def _paths(top: str, headings: Iterable[tuple[int, int, str]]) -> tuple[list[int], list[str]]:
    """Return where the text under each heading begins, and its title: the headings above, its document's first."""
    starts, titles, path = [0], [top], list[tuple[int, str]]()
    for start, level, heading in headings:
        path = [*(above for above in path if above[0] < level), (level, heading)]
        names = [name for _, name in path if name]
        starts.append(start)
        titles.append(" > ".join(names if names[:1] == [top] or not top else [top, *names])[:LONGEST_TITLE])
    return starts, titles
