"""Language identification of documents (py3langid), for sources that name their language."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from conan_assets.data.blocks import blocks_by_size
from conan_assets.data.judged import JudgedPairs

MIN_CHARS = 40
"""Shorter texts are not judged: they are recognised too badly."""

JUDGED_CHARS = 1_000
BLOCK_BYTES = 1 << 24


def in_other_languages(judged: JudgedPairs, languages: Mapping[str, str]) -> pl.Series:
    """Return the ``row`` of every pair whose document is in another language than its dataset.

    Parameters
    ----------
    judged
        The pairs; those removed for an earlier reason are not looked at.
    languages
        ISO 639-1 code by dataset; pairs of other datasets are not looked at.
    """
    pairs = judged.left("other_language", "row", "dataset", "task", "document", "document_key")
    pairs = pairs.with_columns(pl.col("dataset").cast(pl.String))
    pairs = pairs.filter(pl.col("dataset").is_in(list(languages)), pl.col("task") != "classification")
    different = pairs.unique("document_key", keep="first", maintain_order=True)
    found = different.select("document_key", found=_languages(judged, different["document"].to_numpy()))
    expected = pl.DataFrame({"dataset": list(languages), "expected": list(languages.values())})
    compared = pairs.join(found, on="document_key", how="left", maintain_order="left").join(
        expected, on="dataset", how="left", maintain_order="left"
    )
    return compared.filter(pl.col("found") != pl.col("expected"))["row"]


def _languages(judged: JudgedPairs, documents: np.ndarray) -> pl.Series:
    found: list[str | None] = []
    for block in blocks_by_size(judged.passages.sizes(documents), BLOCK_BYTES):
        found.extend(_language(text) for text in judged.passages.gather(documents[block]))
    return pl.Series(found, dtype=pl.String)


def _language(text: str) -> str | None:
    """Return the ISO 639-1 code of the language of a text; None where it is too short."""
    from py3langid import classify

    return str(classify(text[:JUDGED_CHARS])[0]) if len(text) >= MIN_CHARS else None
