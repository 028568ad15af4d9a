"""Turn an artifact's report and table into metadata that the Dagster UI shows."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import dagster as dg
import polars as pl

from conan_assets.artifacts import Artifact
from conan_assets.cleaning import TABLE
from conan_assets.data.tables import describe_columns
from conan_assets.markdown import as_table

EXAMPLE_ROWS = 5
LONGEST_CELL = 200


def to_metadata(artifact: Artifact) -> dict[str, Any]:
    """Return the report as metadata, after what every table shows: row count, columns and example rows."""
    metadata: dict[str, Any] = {"path": dg.MetadataValue.path(str(artifact.path))}
    if (artifact.path / TABLE).exists():
        metadata |= _table_metadata(pl.scan_parquet(artifact.path / TABLE))
    for name, value in artifact.report.items():
        metadata[name] = _shown(value, artifact)
    return metadata


def _table_metadata(frame: pl.LazyFrame) -> dict[str, Any]:
    schema = frame.collect_schema()
    described = describe_columns(schema.names())
    columns = [dg.TableColumn(name, str(dtype), description=described.get(name)) for name, dtype in schema.items()]
    rows = frame.head(EXAMPLE_ROWS).collect().to_dicts()
    return {
        "dagster/row_count": int(frame.select(pl.len()).collect().item()),
        "dagster/column_schema": dg.TableSchema(columns=columns),
        "example_rows": dg.MetadataValue.md(markdown_table(rows)),
    }


def _shown(value: object, artifact: Artifact) -> object:
    """Show files the report names by their content, lists of rows as tables, the rest as it is."""
    if isinstance(value, str) and value.endswith(".png") and (artifact.path / value).exists():
        picture = base64.b64encode((artifact.path / value).read_bytes()).decode()
        return dg.MetadataValue.md(f"![{value}](data:image/png;base64,{picture})")
    if isinstance(value, str) and value.endswith(".md") and (artifact.path / value).exists():
        return dg.MetadataValue.md((artifact.path / value).read_text(encoding="utf-8"))
    if isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
        return dg.MetadataValue.md(markdown_table(value))
    return dg.MetadataValue.json(value) if isinstance(value, list | dict) else value


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """Return ``rows`` as a Markdown table over the columns of all of them; long cells are cut."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return as_table(columns, [[_cell(row.get(column)) for column in columns] for row in rows])


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"
