from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from conan_assets.artifacts import Artifact
from conan_assets.defs.io_managers import TableReader
from conan_assets.defs.metadata import markdown_table, to_metadata
from conan_assets.defs.storage import Storage
from conan_assets.plots import plot_curves


def artifact(folder: Path, **report: object) -> Artifact:
    return Artifact("key", "version", "content", folder, report)


def test_a_table_shows_its_row_count_columns_and_first_five_rows(tmp_path: Path):
    pl.DataFrame({"query_id": [f"q{i}" for i in range(9)], "score": range(9)}).write_parquet(tmp_path / "table.parquet")
    metadata = to_metadata(artifact(tmp_path))
    assert metadata["dagster/row_count"] == 9
    assert [column.name for column in metadata["dagster/column_schema"].columns] == ["query_id", "score"]
    assert metadata["example_rows"].md_str.count("\n") == 6


def test_pictures_and_pages_of_a_report_are_shown_inline_and_rows_as_a_table(tmp_path: Path):
    plot_curves(tmp_path / "loss.png", {"loss": ([1, 2], [0.5, 0.4])}, "step", "loss")
    (tmp_path / "notes.md").write_text("# Notes")
    metadata = to_metadata(
        artifact(
            tmp_path,
            curve="loss.png",
            notes="notes.md",
            gone="gone.png",
            removed=[{"reason": "a|b", "rows": 2}],
            pairs=3,
        )
    )
    assert metadata["curve"].md_str.startswith("![loss.png](data:image/png;base64,iVBOR")
    assert metadata["notes"].md_str == "# Notes"
    assert metadata["gone"] == "gone.png"
    assert metadata["removed"].md_str == "| reason | rows |\n| --- | --- |\n| a&#124;b | 2 |"
    assert metadata["pairs"] == 3


def test_long_cells_are_cut_and_line_breaks_removed():
    (cell,) = markdown_table([{"text": "line\nbreak " + "x" * 500}]).splitlines()[2:]
    assert "line break" in cell
    assert len(cell) < 220


def test_an_asset_that_returns_a_frame_is_refused(tmp_path: Path):
    @dg.asset
    def rogue() -> int:
        return 1

    reader = TableReader(storage=Storage(home=str(tmp_path)))
    with pytest.raises(dg.DagsterInvariantViolationError, match="rogue returned a int"):
        dg.materialize([rogue], resources={"io_manager": reader})
