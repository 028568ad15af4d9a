"""What asset pages show beside the data: who answers for an asset, and where its code stands."""

from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from conan_assets.settings import CatalogueSettings

ROOT = Path(__file__).parents[2]
"""The folder that holds the package: the root of a checkout."""


def describe(assets: Sequence[dg.AssetsDefinition], settings: CatalogueSettings) -> list[dg.AssetsDefinition]:
    """Return the assets with their owners, and with links to their code: in the repository, or to files here."""
    owned = dg.map_asset_specs(lambda spec: spec.replace_attributes(owners=settings.owners), assets)
    linked = dg.with_source_code_references(list(owned))
    if settings.repository is not None:
        linked = dg.link_code_references_to_git(
            linked,
            git_url=settings.repository,
            git_branch=settings.branch,
            file_path_mapping=dg.AnchorBasedFilePathMapping(local_file_anchor=ROOT, file_anchor_path_in_repository=""),
        )
    return [asset for asset in linked if isinstance(asset, dg.AssetsDefinition)]
