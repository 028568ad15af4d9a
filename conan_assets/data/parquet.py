"""Tables out of Parquet files, a batch of rows at a time."""

from typing import BinaryIO

import polars as pl
import pyarrow.parquet as pq

from conan_assets.data.intake import Intake
from conan_assets.data.tables import TableError

ROWS_PER_BATCH = 8_192


def take_parquet(file: BinaryIO, intake: Intake) -> None:
    """Take in the columns that are wanted, and no others."""
    try:
        parquet = pq.ParquetFile(file)
        columns = parquet.schema_arrow.names
        wanted = intake.wanted(columns)
        _refuse_long_cells(parquet, set(wanted), intake)
        intake.see(columns)
        for name in wanted:
            if columns.count(name) > 1:
                raise TableError(f"{intake.source} holds the column {name!r} twice; rename one of them")
        for batch in parquet.iter_batches(ROWS_PER_BATCH, columns=wanted):
            frame = pl.DataFrame(batch)
            intake.add(frame.to_dict(), frame.height)
    except TableError:
        raise
    except (Exception, pl.exceptions.PanicException) as error:
        # Damaged bytes come out of the libraries as exceptions of many kinds; they all mean the same. polars' reader
        # would end the process where damage names a size that cannot be allocated.
        raise TableError(
            f"{intake.source} is not readable Parquet, it is damaged or cut off: write it again ({error})"
        ) from error


def _refuse_long_cells(parquet: pq.ParquetFile, wanted: set[str], intake: Intake) -> None:
    """Raise TableError where a row group's cells are too long even on average, before they are unpacked."""
    row = 0
    for number in range(parquet.metadata.num_row_groups):
        group = parquet.metadata.row_group(number)
        for place in range(group.num_columns):
            column = group.column(place)
            name = column.path_in_schema.split(".")[0]
            mean = column.total_uncompressed_size / max(column.num_values, 1)
            if name in wanted and mean > intake.max_text_bytes:
                raise TableError(
                    f"{intake.source}: rows {row + 1} to {row + group.num_rows}: column {name} holds texts of "
                    f"{mean:,.0f} bytes on average, more than {intake.max_text_bytes:,}; cut them, drop the rows, or "
                    "raise max_text_bytes"
                )
        row += group.num_rows
