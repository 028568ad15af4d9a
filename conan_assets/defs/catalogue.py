"""What asset pages show beside the data: who answers for an asset, and where its code stands."""

import inspect
import warnings
from collections.abc import Iterable
from pathlib import Path

import dagster as dg

from conan_assets.settings.sections import CatalogueSettings

ROOT = Path(__file__).parents[2]
"""The folder that holds the package: the root of a checkout."""


def describe(assets: Iterable[dg.AssetsDefinition], settings: CatalogueSettings) -> list[dg.AssetsDefinition]:
    """Return the assets with their owners, and with links to their code: in the repository, or to files here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # every class of a link to code warns that it may change
        described = [_describe(asset, settings) for asset in assets]
        if settings.repository is None:
            return described
        linked = dg.link_code_references_to_git(
            described,
            git_url=settings.repository,
            git_branch=settings.branch,
            file_path_mapping=dg.AnchorBasedFilePathMapping(local_file_anchor=ROOT, file_anchor_path_in_repository=""),
        )
        return [asset for asset in linked if isinstance(asset, dg.AssetsDefinition)]


def _describe(asset: dg.AssetsDefinition, settings: CatalogueSettings) -> dg.AssetsDefinition:
    # Dagster's own with_source_code_references would link to the decorator that retries.
    compute = asset.op.compute_fn
    body = inspect.unwrap(compute if callable(compute) else compute.decorated_fn)
    here = dg.LocalFileCodeReference(file_path=inspect.getfile(body), line_number=inspect.getsourcelines(body)[1])
    code = {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=[here])}
    return asset.map_asset_specs(
        lambda spec: spec.merge_attributes(metadata=code).replace_attributes(owners=settings.owners)
    )
