"""What asset pages show beside the data."""

import dagster as dg
import polars as pl
import pytest

from conan_assets.artifacts import Artifact
from conan_assets.data.tables import CANDIDATES, CORPUS, NEGATIVES, PAIRS, Table
from conan_assets.definitions import build_defs
from conan_assets.defs.metadata import to_metadata
from conan_assets.settings import Settings, load_settings
from conan_assets.settings.sections import CatalogueSettings


def specs_of(**catalogue: object) -> list[dg.AssetSpec]:
    demo = load_settings("demo", {})
    settings = Settings.model_validate({**demo.model_dump(), "catalogue": CatalogueSettings(**catalogue).model_dump()})
    return [spec for asset in build_defs(settings).assets for spec in asset.specs]


def test_every_asset_has_the_owners_of_the_profile_and_a_link_to_its_code():
    specs = specs_of(owners=["team:search", "ann@example.com"], repository="https://github.com/me/fork", branch="v2")
    assert len(specs) > 10
    for spec in specs:
        assert list(spec.owners) == ["team:search", "ann@example.com"]
        (link,) = spec.metadata["dagster/code_references"].code_references
        assert link.url.startswith("https://github.com/me/fork/tree/v2/conan_assets/defs/")


def test_without_a_repository_the_link_is_to_a_file_here():
    for spec in specs_of():
        (link,) = spec.metadata["dagster/code_references"].code_references
        assert link.file_path.endswith(".py")
        assert not spec.owners


@pytest.mark.parametrize("table", [CORPUS, PAIRS, CANDIDATES, NEGATIVES], ids=lambda table: table.name)
def test_every_column_of_a_table_is_described(table: Table, tmp_path):
    frame = pl.DataFrame(schema={**table.columns, "bm25_score": pl.Float32} if table is NEGATIVES else table.columns)
    frame.write_parquet(tmp_path / "table.parquet")
    artifact = Artifact("table", "fingerprint", "content", tmp_path, {}, {})
    columns = to_metadata(artifact)["dagster/column_schema"].columns
    assert [column.name for column in columns] == frame.columns
    assert all(column.description for column in columns)
