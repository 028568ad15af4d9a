"""One document as Markdown: out of a text, a page of HTML, reStructuredText, or a file that a converter reads."""

import html
import re
from dataclasses import dataclass

from conan_assets.data.converter import CONVERTED, converted
from conan_assets.data.decoding import UnreadableError, decoded

READABLE = (".txt", ".md", ".markdown", ".html", ".htm", ".xhtml", ".rst", *CONVERTED)

NO_CONTENT = ("nav", "footer", "aside", "button", "form", "script", "[role=navigation]", "[hidden]", ".headerlink")
"""What of a page of HTML is no part of its document, as CSS selectors."""

_MAIN = re.compile(r"<main\b.*</main\s*>", re.IGNORECASE | re.DOTALL)
_TITLE = re.compile(r"<title\b[^>]*>(.*?)</title\s*>", re.IGNORECASE | re.DOTALL)
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?\n---[ \t]*\n", re.DOTALL)
_ADORNED = re.compile(
    r"^(?P<over>([!-/:-@\[-`{-~])\2{2,}\n)?(?P<title>[^\s].*)\n(?P<line>([!-/:-@\[-`{-~])\5{2,})$", re.M
)


@dataclass(frozen=True)
class DocumentText:
    """A document: what it calls itself, or nothing, and its text in Markdown, without headings if ``plain``."""

    title: str
    text: str
    plain: bool = False


def read_document(suffix: str, content: bytes) -> DocumentText:
    """Return the document that a file of that suffix holds.

    Raises
    ------
    UnreadableError
        It is empty or binary, its encoding is not known, or its converter cannot read it or is not installed.
    """
    if suffix in CONVERTED:
        document = DocumentText("", converted(suffix, content))
    else:
        document = markdown_of(suffix, decoded(content, suffix))
    if not document.text.strip():
        raise UnreadableError("empty", "it holds no text")
    return document


def markdown_of(suffix: str, text: str) -> DocumentText:
    """Return the document of a text in the format of that suffix."""
    if suffix in (".html", ".htm", ".xhtml"):
        return _of_html(text)
    if suffix == ".rst":
        return DocumentText("", _of_restructured_text(text))
    if suffix in (".md", ".markdown"):
        return DocumentText("", _FRONT_MATTER.sub("", text))
    return DocumentText("", text, plain=True)


def _of_html(text: str) -> DocumentText:
    from html_to_markdown import ConversionOptions, PreprocessingOptions, convert

    options = ConversionOptions(
        strip_tags=["a"],
        skip_images=True,
        autolinks=False,
        extract_metadata=False,
        exclude_selectors=list(NO_CONTENT),
        preprocessing=PreprocessingOptions(preset="aggressive"),
    )
    title, content = _TITLE.search(text), _MAIN.search(text)
    try:
        converted = convert(content[0] if content else text, options).content or ""
    except Exception as error:
        # The converter has a class of errors for every stage; what they mean here is the same.
        raise UnreadableError("not_converted", f"its HTML cannot be read: {error}") from error
    return DocumentText(" ".join(html.unescape(title[1]).split()) if title else "", converted)


def _of_restructured_text(text: str) -> str:
    """Return reStructuredText with its headings as those of Markdown; what else marks it up is left as it is.

    docutils would read it too, and leave out what stands in directives that it does not know, such as Sphinx's.
    """
    levels: dict[str, int] = {}

    def heading(match: re.Match[str]) -> str:
        title, line = match["title"].strip(), match["line"]
        if len(line) < len(title) or (match["over"] and len(match["over"]) < len(title)):
            return match[0]
        adornment = f"{bool(match['over'])}{line[0]}"
        level = levels.setdefault(adornment, len(levels) + 1)
        return f"\n{'#' * min(level, 6)} {title}\n"

    return _ADORNED.sub(heading, text)
