"""Personal data taken out of texts before these are stored: the name of its kind stands in its place."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from conan_assets.data.rules import PERSONAL_DATA
from conan_assets.data.settings import PersonalData


def without_personal_data(
    rows: pl.DataFrame, kinds: Sequence[PersonalData], *columns: str
) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    """Return the rows with ``[kind]`` for each piece of personal data in ``columns``, and how many there were."""
    counts = []
    for kind in kinds:
        found = rows.select(pl.col(columns).str.count_matches(PERSONAL_DATA[kind]).sum())
        counts.append({"kind": kind, "pieces": found.sum_horizontal().item()})
        rows = rows.with_columns(pl.col(columns).str.replace_all(PERSONAL_DATA[kind], f" [{kind}] "))
    return rows, counts
