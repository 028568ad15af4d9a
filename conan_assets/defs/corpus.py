"""Stage 1, the raw data: `raw_corpus` and `raw_pairs` from every source of the programme."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import dagster as dg
import polars as pl

from conan_assets.cleaning import TABLE
from conan_assets.data.blocks import BLOCK_ROWS, read_blocks, write_blocks
from conan_assets.data.digests import remembered_digests
from conan_assets.data.sources import SOURCES_VERSION, read_source, source_fingerprint
from conan_assets.data.tables import CORPUS, PAIRS, Table
from conan_assets.defs.limits import retried
from conan_assets.defs.reuse import Report, code_version, reuse_or_build
from conan_assets.defs.storage import Storage
from conan_assets.files import temporary_path
from conan_assets.redaction import without_credentials
from conan_assets.settings import Settings
from conan_assets.settings.inputs import check_data

CORPUS_KEY = dg.AssetKey("raw_corpus")
PAIRS_KEY = dg.AssetKey("raw_pairs")
JUDGED_KEY = dg.AssetKey("judged_pairs")
DIGESTS = "source_digests.json"
READING = "reading.json"
"""What there is to say about the reading of the sources, beside the tables that were read."""


def source_fingerprints(settings: Settings, storage: Storage) -> dict[str, str]:
    """Return the fingerprint of every source as it is now, by name; local files are read if they have changed."""
    with without_credentials(), remembered_digests(storage.root / DIGESTS) as digest:
        return {name: source_fingerprint(name, source, digest) for name, source in settings.sources.items()}


def judged_key(settings: Settings) -> dg.AssetKey:
    """Return the asset of all pairs that models are judged by and mined with.

    It is `raw_pairs`, or `judged_pairs` where a source has no queries and those of dev and test are written for it, or
    where hard negatives are written.
    """
    return dg.AssetKey(settings.judged_table)


def build_corpus_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """Return the assets that read the sources."""

    @dg.multi_asset(
        specs=[
            _spec(CORPUS_KEY, "Every document of every source, by id."),
            _spec(PAIRS_KEY, "Every judged pair of every source and split."),
        ],
        name="sources",
        can_subset=True,
    )
    @retried
    def sources(context: dg.AssetExecutionContext, storage: Storage) -> Iterator[dg.MaterializeResult[None]]:
        check_data(settings)
        recipe = source_fingerprints(settings, storage)
        made_from = {"sources": [{"source": name, "fingerprint": value} for name, value in recipe.items()]}

        with contextlib.ExitStack() as stack:

            @cache
            def load() -> Path:
                folder = temporary_path(storage.root / "sources")
                folder.mkdir(parents=True, exist_ok=True)
                stack.callback(shutil.rmtree, folder)
                return _read_sources(settings, folder)

            def build_corpus(directory: Path) -> Report:
                corpus = _join(load(), settings, CORPUS, directory)
                read = json.loads((load() / READING).read_text(encoding="utf-8"))
                return {"documents_by_dataset": _count(corpus, "dataset"), **read, **made_from}

            def build_pairs(directory: Path) -> Report:
                pairs = _join(load(), settings, PAIRS, directory)
                return {"pairs_by_dataset_and_split": _count(pairs, "dataset", "task", "split"), **made_from}

            for key, build in ((CORPUS_KEY, build_corpus), (PAIRS_KEY, build_pairs)):
                if key in context.selected_asset_keys:
                    yield reuse_or_build(context, storage, recipe, build, key)

    return [sources]


def _spec(key: dg.AssetKey, description: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        key,
        description=description,
        group_name="data",
        kinds={"polars"},
        code_version=code_version(sources=SOURCES_VERSION),
        skippable=True,
    )


def _read_sources(settings: Settings, folder: Path) -> Path:
    """Read the sources one after the other into files of ``folder``, so that memory holds one of them at a time."""
    reading: dict[str, list[object]] = {}
    for name, source in settings.sources.items():
        corpus, pairs, report = read_source(name, source)
        for table, frame in ((CORPUS, corpus), (PAIRS, pairs)):
            frame.write_parquet(folder / f"{name}.{table.name}", row_group_size=BLOCK_ROWS)
        for about, rows in report.items():
            reading.setdefault(about, []).extend(rows)
    (folder / READING).write_text(json.dumps(reading), encoding="utf-8")
    return folder


def _join(folder: Path, settings: Settings, table: Table, directory: Path) -> pl.LazyFrame:
    """Write the table of all sources, in their order, and return it."""
    parts = (pl.scan_parquet(folder / f"{name}.{table.name}") for name in settings.sources)
    blocks = (block for part in parts for block in read_blocks(part))
    write_blocks(blocks, directory / TABLE, pl.DataFrame(schema=dict(table.columns)))
    return pl.scan_parquet(directory / TABLE)


def _count(frame: pl.LazyFrame, *columns: str) -> list[dict[str, object]]:
    counts = frame.group_by(columns).agg(pl.len().alias("rows")).sort(columns)
    return counts.collect(engine="streaming").to_dicts()
