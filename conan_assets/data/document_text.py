"""One document as Markdown: out of a text, a page of HTML, reStructuredText, or a file that a converter reads."""

import codecs
import html
import io
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

CONVERTED = (".pdf", ".docx", ".pptx")
"""What the converter of the extra ``documents`` reads."""

READABLE = (".txt", ".md", ".markdown", ".html", ".htm", ".xhtml", ".rst", *CONVERTED)

NO_CONTENT = ("nav", "footer", "aside", "button", "form", "script", "[role=navigation]", "[hidden]", ".headerlink")
"""What of a page of HTML is no part of its document, as CSS selectors."""

_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_DECLARED = re.compile(rb"""<meta[^>]{0,200}charset=["']?\s*([\w.:-]+)""", re.IGNORECASE)
_MAIN = re.compile(r"<main\b.*</main\s*>", re.IGNORECASE | re.DOTALL)
_TITLE = re.compile(r"<title\b[^>]*>(.*?)</title\s*>", re.IGNORECASE | re.DOTALL)
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?\n---[ \t]*\n", re.DOTALL)
_ADORNED = re.compile(
    r"^(?P<over>([!-/:-@\[-`{-~])\2{2,}\n)?(?P<title>[^\s].*)\n(?P<line>([!-/:-@\[-`{-~])\5{2,})$", re.M
)


class UnreadableError(ValueError):
    """A file holds no document; ``reason`` is what it is counted under."""

    def __init__(self, reason: str, problem: str) -> None:
        super().__init__(problem)
        self.reason = reason


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
        document = DocumentText("", _converted(suffix, content))
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


def _converted(suffix: str, content: bytes) -> str:
    if not content:
        raise UnreadableError("empty", "it is empty")
    try:
        return str(_converter().convert_stream(io.BytesIO(content), file_extension=suffix))
    except ImportError:
        way_out = "pip install 'conan-assets[documents]'"
        raise UnreadableError("no_converter", f"{suffix} needs a converter: {way_out}") from None
    except Exception as error:
        # Behind the converter stand libraries with errors of their own; a broken file may raise any of them.
        problem = " ".join(str(error).split())
        raise UnreadableError("not_converted", f"the converter cannot read it: {problem[:200]}") from error


@cache
def _converter() -> Any:  # noqa: ANN401 - the type of an optional package
    """Return what converts these formats alone: by default it takes a broken file for a text."""
    from markitdown import MarkItDown
    from markitdown.converters import DocxConverter, PdfConverter, PptxConverter

    converter = MarkItDown(enable_builtins=False)
    for each in (DocxConverter, PdfConverter, PptxConverter):
        converter.register_converter(each())
    return converter
