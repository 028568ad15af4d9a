"""A table of a user's, taken in part by part: its columns under our names, every cell what its column holds."""

import logging
import re
from collections.abc import Iterable, Mapping

import polars as pl

from conan_assets.data.columns import TEXTS, CellError, Cells, converted, too_long
from conan_assets.data.settings import MAX_TEXT_BYTES
from conan_assets.data.tables import Table, TableError
from conan_assets.redaction import redacted

logger = logging.getLogger("conan_assets")

LIKE_NEGATIVES = re.compile(r"(?i).*neg.*")


class Intake:
    """Collects a table.

    Parameters
    ----------
    table
        Its columns; those it does not require may be absent and are null then.
    source
        File, repository or frame, as errors name it.
    names
        What a column is called there, by its name here.
    max_text_bytes
        A longer text, in bytes of UTF-8, is refused.
    """

    def __init__(
        self, table: Table, source: str, names: Mapping[str, str] | None = None, max_text_bytes: int = MAX_TEXT_BYTES
    ) -> None:
        self.source = redacted(source)
        self.max_text_bytes = max_text_bytes
        self._table = table
        self._mapped = dict(names or {})
        self._places = {name: self._mapped.get(name, name) for name in table.columns}
        self._seen: dict[str, None] = {}
        self._rows = 0
        self._parts = [pl.DataFrame(schema=dict(table.columns))]

    def wanted(self, columns: Iterable[str]) -> list[str]:
        """Return those of the columns there that the table takes, each once."""
        return [name for name in dict.fromkeys(columns) if name in self._places.values() or self._further(name)]

    @property
    def places(self) -> list[str]:
        """What the columns are called there."""
        return list(self._places.values())

    def takes_lists(self, column: str) -> bool:
        """Return whether a column there becomes lists of texts."""
        places = [name for name, place in self._places.items() if place == column]
        return bool(self._further(column)) or any(self._table.columns[name] == TEXTS for name in places)

    def see(self, columns: Iterable[str]) -> None:
        """Note the names of all columns that are there, for the errors and the log."""
        self._seen |= dict.fromkeys(columns)

    def add(self, cells: Mapping[str, Cells], rows: int) -> None:
        """Add ``rows`` rows: cells by the column's name there; a column that is absent there is null."""
        columns = {name: self._column(name, place, cells, rows) for name, place in self._places.items()}
        for further in self.wanted(cells):
            if target := self._further(further):
                columns[target] = _joined(columns[target], self._converted(target, further, cells[further]))
        self._parts.append(pl.DataFrame(columns))
        self._rows += rows

    def frame(self) -> pl.DataFrame:
        """Return the table; log once which columns were not used.

        Raises
        ------
        TableError
            A column of the mapping or a required one is missing.
        """
        for there in self._mapped.values():
            if there not in self._seen:
                raise TableError(f"{self.source} lacks the column {there!r} of its column mapping; it has {self._has}")
        for name in self._table.required:
            if self._places[name] not in self._seen:
                raise TableError(
                    f"{self.source}: the {self._table.name} table lacks the column {name!r}; "
                    f"it has {self._has} and needs {', '.join(self._table.required)}"
                )
        self._tell_unused()
        return pl.concat(self._parts)

    @property
    def _has(self) -> str:
        shown = [name if name == name.strip() and name else repr(name) for name in self._seen]
        return ", ".join(shown) or "no columns"

    def _tell_unused(self) -> None:
        used = self.wanted(self._seen)
        unused = [name for name in self._seen if name not in used]
        if any(LIKE_NEGATIVES.fullmatch(name) for name in unused) and "negatives" in self._places:
            logger.warning(
                "%s: columns not used: %s; name those with negatives in its column mapping: {negatives: ...}",
                self.source,
                ", ".join(unused),
            )
        elif unused:
            logger.info("%s: columns not used: %s", self.source, ", ".join(unused))

    def _further(self, column: str) -> str | None:
        """Return the column of lists that this one adds to, by the pattern of its name."""
        if column in self._places.values():
            return None
        return next((name for name, pattern in self._table.further.items() if re.fullmatch(pattern, column)), None)

    def _column(self, name: str, place: str, cells: Mapping[str, Cells], rows: int) -> pl.Series:
        if place not in cells:
            return pl.Series(name, [None], self._table.columns[name]).new_from_index(0, rows)
        return self._converted(name, place, cells[place])

    def _converted(self, name: str, place: str, cells: Cells) -> pl.Series:
        try:
            column = converted(cells, self._table.columns[name]).alias(name)
        except CellError as error:
            raise TableError(
                f"{self.source}: row {self._rows + error.row + 1}: column {place} {error}; correct it or drop the row"
            ) from None
        long = too_long(column, self.max_text_bytes)
        if long is not None:
            raise TableError(
                f"{self.source}: row {self._rows + long + 1}: column {place} holds a text of more than "
                f"{self.max_text_bytes:,} bytes; cut it, drop the row, or raise max_text_bytes"
            )
        return column


def _joined(lists: pl.Series, more: pl.Series) -> pl.Series:
    """Return the lists of two columns one after the other; a null is an empty list."""
    both = pl.DataFrame({"one": lists, "other": more})
    empty = pl.lit([], dtype=TEXTS)
    return both.select(pl.concat_list(pl.col("one").fill_null(empty), pl.col("other").fill_null(empty))).to_series()
