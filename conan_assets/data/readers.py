"""Tables out of Parquet, JSONL, CSV and TSV files, here or behind a URL; errors name the file and the row.

Rows count from 1 without a header line; blank lines are no rows. Text files are UTF-8, or what their byte-order mark
says.
"""

from collections.abc import Mapping

import polars as pl

from conan_assets.data.files import AnyPath, opened
from conan_assets.data.intake import Intake
from conan_assets.data.json_lines import take_jsonl
from conan_assets.data.parquet import take_parquet
from conan_assets.data.separated import take_comma_separated
from conan_assets.data.settings import MAX_TEXT_BYTES
from conan_assets.data.tab_separated import take_tab_separated
from conan_assets.data.tables import Table, TableError

TAKE = {
    ".parquet": take_parquet,
    ".jsonl": take_jsonl,
    ".csv": take_comma_separated,
    ".tsv": take_tab_separated,
}


def read_table(
    path: AnyPath,
    table: Table,
    names: Mapping[str, str] | None = None,
    max_text_bytes: int = MAX_TEXT_BYTES,
    part_of: str = "",
) -> pl.DataFrame:
    """Return the columns of ``table`` from a ``.parquet``, ``.jsonl``, ``.csv`` or ``.tsv`` file.

    Parameters
    ----------
    names
        What a column is called in the file, by its name here.
    max_text_bytes
        The longest text, and the longest line of a text file, in bytes.
    part_of
        What the file belongs to, for the errors.

    Raises
    ------
    TableError
        The file is not what its suffix says, a required column is missing, or a cell does not fit its column; the
        message names the file, and the row or line.
    """
    source = f"{path} of {part_of}" if part_of else str(path)
    intake = Intake(table, source, names, max_text_bytes)
    with opened(path) as file:
        if not file.read(1):
            raise TableError(f"{source} is empty: write it again")
        file.seek(0)
        TAKE[path.suffix](file, intake)
    frame = intake.frame()
    if frame.is_empty():
        raise TableError(f"{source} has columns and no row: write it again, or remove it")
    return frame
