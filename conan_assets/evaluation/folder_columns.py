"""What the columns of an evaluation folder must hold, so that a metric comes out of them."""

from collections.abc import Mapping

import polars as pl

from conan_assets.evaluation.settings import EvaluationError

TEXTS, NUMBERS, TRUTH_VALUES = "texts", "numbers", "truth values"
ACCEPTED = {"score": (NUMBERS,), "label": (TEXTS, NUMBERS, TRUTH_VALUES)}
"""What the columns hold that are not texts."""


def check_column(place: str, values: pl.Series) -> None:
    """Raise EvaluationError, which begins with ``place``, if a task cannot be scored on a column."""
    accepted = ACCEPTED.get(values.name, (TEXTS,))
    problem = _empty(values)
    if not problem and _kind(values.dtype) not in accepted:
        problem = f"holds values of type {values.dtype}; it must hold {' or '.join(accepted)}"
    if not problem and values.dtype.is_float() and not values.is_finite().all():
        problem = f"holds no finite number in row {values.is_finite().not_().arg_true()[0] + 1}"
    if not problem and values.name in ACCEPTED and values.n_unique() == 1:
        problem = f"holds nothing but {values[0]!r}; nothing can be told apart by one {values.name}"
    if problem:
        raise EvaluationError(f"{place}: column {values.name!r} {problem}")


def check_same_kind(place: str, columns: Mapping[str, pl.Series]) -> None:
    """Raise EvaluationError, which begins with ``place``, if a column holds texts in one split and not in another."""
    if len({_kind(values.dtype) == TEXTS for values in columns.values()}) > 1:
        held = ", ".join(f"{values.dtype} in {split}" for split, values in columns.items())
        name = next(iter(columns.values())).name
        raise EvaluationError(f"{place}: column {name!r} holds {held}; give it the same type in every split")


def _empty(values: pl.Series) -> str:
    if values.is_empty():
        return "is empty: the file has no rows"
    return f"is empty in row {values.is_null().arg_true()[0] + 1}" if values.null_count() else ""


def _kind(dtype: pl.DataType) -> str | None:
    if dtype.is_numeric():
        return NUMBERS
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return TEXTS
    return TRUTH_VALUES if dtype == pl.Boolean else None
