"""Files that are no text, made into Markdown by markitdown, which the extra ``documents`` installs."""

import io
from functools import cache
from typing import Any

from conan_assets.data.decoding import UnreadableError

CONVERTED = (".pdf", ".docx", ".pptx")


def converted(suffix: str, content: bytes) -> str:
    """Return a file as Markdown.

    Raises
    ------
    UnreadableError
        It is empty or broken, or the converter is not installed.
    """
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
