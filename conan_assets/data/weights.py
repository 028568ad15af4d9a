"""How often a source's training samples occur in an epoch."""

import hashlib
from collections.abc import Mapping

import polars as pl


def repeated(rows: pl.DataFrame, name: str, weights: Mapping[str, float]) -> pl.DataFrame:
    """Return ``rows`` as often as the weight of their ``dataset`` says, copies beside one another.

    A weight of 2.5 gives every row twice and half of the rows a third time; 0.5 keeps half of them. Which ones is
    decided by a hash of the id, the same in every run.

    Parameters
    ----------
    rows
        Samples with a column ``dataset``.
    name
        The column of their ids; the second copy's ends in ``#2``.
    weights
        Weight by dataset; 1 where there is none.
    """
    changed = {dataset: weight for dataset, weight in weights.items() if weight != 1}
    if not rows["dataset"].is_in(list(changed)).any():
        return rows
    weight = pl.col("dataset").replace_strict(changed, default=1.0, return_dtype=pl.Float64)
    chance = pl.col(name).map_elements(_chance, return_dtype=pl.Float64)
    copies = weight.floor() + (chance < weight - weight.floor())
    numbered = rows.with_columns(copy=pl.int_ranges(copies.cast(pl.Int64))).explode("copy").drop_nulls("copy")
    again = pl.concat_str(pl.col(name), pl.lit("#"), pl.col("copy") + 1)
    return numbered.with_columns(pl.when(pl.col("copy") > 0).then(again).otherwise(pl.col(name)).alias(name)).drop(
        "copy"
    )


def _chance(identifier: str) -> float:
    return int.from_bytes(hashlib.sha256(f"weight:{identifier}".encode()).digest()[:8]) / 2**64
