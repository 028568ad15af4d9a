"""Near-equal texts among those in memory, by the words that they share."""

import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from conan_assets.compute import IN_PROCESS, Compute
from conan_assets.data.blocks import TextFile
from conan_assets.data.curation_settings import NearDuplicateSettings
from conan_assets.data.near_duplicates import ComparedTexts, near_pairs, near_to_known
from conan_assets.data.shingles import words

NEAR = NearDuplicateSettings()


def near_between(known: pl.Series, others: pl.Series, compute: Compute = IN_PROCESS) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows (known, other) of near-equal texts of the two."""
    with tempfile.TemporaryDirectory() as folder:
        compared = _compared(pl.concat([known, others]), Path(folder), compute)
        earlier, later = near_to_known(compared, len(known), NEAR)
        return earlier, later - len(known)


def near_within(texts: pl.Series, compute: Compute = IN_PROCESS) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows (earlier, later) of near-equal texts."""
    with tempfile.TemporaryDirectory() as folder:
        return near_pairs(_compared(texts, Path(folder), compute), NEAR)


def _compared(texts: pl.Series, folder: Path, compute: Compute) -> ComparedTexts:
    file = TextFile(folder / "texts")
    file.append(texts)
    return ComparedTexts(file, np.arange(len(texts)), words, compute=compute)
