"""Text normalisation, as polars expressions: what is kept of a text, and what two texts are compared by."""

import unicodedata

import polars as pl

CONTROL_CHARACTERS = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2060\ufeff\ufffe\uffff]"


def cleaned(text: pl.Expr) -> pl.Expr:
    """Return ``text`` in Unicode NFC without control and zero-width characters and without blanks at its ends."""
    return text.str.replace_all(CONTROL_CHARACTERS, "").str.normalize("NFC").str.strip_chars()


def comparison_key(text: pl.Expr) -> pl.Expr:
    """Return ``text`` in Unicode NFKC, lower case, every run of white space as one blank: equal keys, same text."""
    return text.str.normalize("NFKC").str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()


def text_key(text: pl.Expr) -> pl.Expr:
    """Return a UInt64 that is equal for texts that differ in case, width and white space alone."""
    return comparison_key(text).hash()


def compare_by(text: str) -> str:
    """Return :func:`comparison_key` of one text."""
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())
