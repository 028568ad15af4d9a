"""The one way an asset is materialized: reuse the finished output of the same inputs and settings, or build it."""

import logging
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from conan_assets.artifacts import fingerprint, fingerprint_file
from conan_assets.cleaning import TABLE
from conan_assets.defs.metadata import to_metadata
from conan_assets.defs.storage import Storage
from conan_assets.memory import return_freed_memory

logger = logging.getLogger("conan_assets")

Report = dict[str, Any]


def code_version(**algorithms: int) -> str:
    """Return an asset's ``code_version``: the versions of all the algorithms that decide what comes out of it.

    Each is a constant beside its algorithm, such as ``ENCODING_VERSION``, and is raised with what the algorithm gives.
    """
    return ", ".join(f"{name} {version}" for name, version in sorted(algorithms.items()))


def reuse_or_build(
    context: dg.AssetExecutionContext,
    storage: Storage,
    recipe: Mapping[str, object],
    build: Callable[[Path], Report],
    key: dg.AssetKey | None = None,
    unfinished: Callable[[Report], Sequence[str]] = lambda report: (),
) -> dg.MaterializeResult[None]:
    """Return the asset's result: found under its fingerprint, or built by ``build`` in a directory of its own.

    The fingerprint covers the asset's key and code version, ``recipe`` (the settings that matter to it) and the
    content of the assets upstream: a table that is made again and comes out the same changes nothing downstream.
    ``build`` fills the directory and returns a report of plain JSON values. A report of which ``unfinished`` names
    anything is not reused but built again in its place; while it names the same, what lies downstream sees no change.
    A finished output that is damaged is set aside and built again too.
    """
    key = key or context.asset_key
    name = key.to_user_string()
    artifacts = storage.artifacts
    upstream = [
        artifacts.current(up) for up in sorted(up.to_user_string() for up in context.assets_def.asset_deps[key])
    ]
    contents = {up.key: up.content for up in upstream}
    version = fingerprint(
        name,
        context.assets_def.code_versions_by_key[key],
        dict(recipe),
        contents,
    )
    artifact = artifacts.reusable(name, version)
    reused = artifact is not None and not unfinished(artifact.report)
    if artifact is not None and reused:
        artifacts.select(artifact)
        logger.info("%s: reused, nothing it depends on has changed since it was made (%s)", name, version)
    else:
        with artifacts.building(name, version, instead_of=artifact) as directory:
            report = build(directory)
            missing = sorted(unfinished(report))
            content = fingerprint(version, missing) if missing else _table_fingerprint(directory)
            made_from = {**ChainMap(*(up.made_from for up in upstream)), **contents}
            artifact = artifacts.finish(name, version, report, content, made_from)
        return_freed_memory()
    metadata = {"reused": reused, "fingerprint": artifact.content, **to_metadata(artifact)}
    return dg.MaterializeResult(asset_key=key, metadata=metadata, data_version=dg.DataVersion(artifact.content))


def _table_fingerprint(directory: Path) -> str | None:
    table = directory / TABLE
    return fingerprint_file(table)[:16] if table.exists() else None


def write_table(frame: pl.DataFrame | pl.LazyFrame, directory: Path) -> None:
    """Write an asset's table into its directory."""
    frame.lazy().sink_parquet(directory / TABLE)
