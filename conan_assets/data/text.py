"""Text normalisation, as polars expressions: what is kept of a text, and what two texts are compared by."""

import unicodedata

import polars as pl

WHITE_SPACE_CONTROLS = r"[\x0b-\x0d\x1c-\x1f\x85]"
"""Page breaks, carriage returns and separators: they stand between words."""

CONTROL_CHARACTERS = r"[\x00-\x08\x0e-\x1b\x7f-\x9f\u200b\u2060\ufeff\ufffe\uffff]"


def cleaned(text: pl.Expr) -> pl.Expr:
    """Return ``text`` in Unicode NFC without control and zero-width characters and without blanks at its ends.

    A control character that is white space becomes a blank, so that no two words become one.
    """
    spaced = text.str.replace_all("\r\n", "\n", literal=True).str.replace_all(WHITE_SPACE_CONTROLS, " ")
    return spaced.str.replace_all(CONTROL_CHARACTERS, "").str.normalize("NFC").str.strip_chars()


def comparison_key(text: pl.Expr) -> pl.Expr:
    """Return ``text`` in Unicode NFKC, lower case, every run of white space as one blank: equal keys, same text."""
    return text.str.normalize("NFKC").str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()


def text_key(text: pl.Expr) -> pl.Expr:
    """Return a UInt64 that is equal for texts that differ in case, width and white space alone."""
    return comparison_key(text).hash()


def compare_by(text: str) -> str:
    """Return :func:`comparison_key` of one text."""
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())
