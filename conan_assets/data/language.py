"""Language identification of documents (py3langid), for sources that name their language."""

from collections.abc import Mapping

import polars as pl

from conan_assets.data.deduplication import document_texts

MIN_CHARS = 40
"""Shorter texts are not judged: they are recognised too badly."""

JUDGED_CHARS = 1_000


def pairs_in_other_languages(pairs: pl.DataFrame, corpus: pl.DataFrame, languages: Mapping[str, str]) -> pl.Series:
    """Return the ``pair_id`` of every pair whose document is in another language than its dataset.

    Parameters
    ----------
    pairs
        PAIRS with ``document_key``, equal for equal documents.
    corpus
        CORPUS that the pairs point into.
    languages
        ISO 639-1 code by dataset; pairs of other datasets are not looked at.
    """
    judged = pairs.filter(pl.col("dataset").is_in(list(languages)), pl.col("task") != "classification")
    expected = pl.DataFrame(
        {"dataset": list(languages), "expected": list(languages.values())}, schema_overrides={"dataset": pl.String}
    )
    found = document_texts(judged, corpus).select(
        "document_key", found=pl.col("passage").map_elements(_language, pl.String)
    )
    compared = judged.join(found, on="document_key", how="left", maintain_order="left").join(
        expected, on="dataset", how="left", maintain_order="left"
    )
    return compared.filter(pl.col("found") != pl.col("expected"))["pair_id"]


def _language(text: str) -> str | None:
    """Return the ISO 639-1 code of the language of a text; None where it is too short."""
    from py3langid import classify

    return str(classify(text[:JUDGED_CHARS])[0]) if len(text) >= MIN_CHARS else None
