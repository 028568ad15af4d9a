"""Stage 1, the raw data: `raw_corpus` and `raw_pairs` from every source of the programme."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import dagster as dg
import polars as pl

from conan_assets.data.sources import load_source, source_fingerprint
from conan_assets.defs.reuse import Report, reuse_or_build, write_table
from conan_assets.defs.storage import Storage
from conan_assets.settings import Settings

CORPUS_KEY = dg.AssetKey("raw_corpus")
PAIRS_KEY = dg.AssetKey("raw_pairs")


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
    def sources(context: dg.AssetExecutionContext, storage: Storage) -> Iterator[dg.MaterializeResult]:
        recipe = {name: source_fingerprint(name, source) for name, source in settings.sources.items()}

        @cache
        def load() -> tuple[pl.DataFrame, pl.DataFrame]:
            loaded = [load_source(name, source) for name, source in settings.sources.items()]
            return pl.concat([corpus for corpus, _ in loaded]), pl.concat([pairs for _, pairs in loaded])

        def build_corpus(directory: Path) -> Report:
            corpus, _ = load()
            write_table(corpus, directory)
            return {"documents_by_dataset": _count(corpus, "dataset")}

        def build_pairs(directory: Path) -> Report:
            _, pairs = load()
            write_table(pairs, directory)
            return {"pairs_by_dataset_and_split": _count(pairs, "dataset", "task", "split")}

        for key, build in ((CORPUS_KEY, build_corpus), (PAIRS_KEY, build_pairs)):
            if key in context.selected_asset_keys:
                yield reuse_or_build(context, storage, recipe, build, key)

    return [sources]


def _spec(key: dg.AssetKey, description: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        key, description=description, group_name="corpus", kinds={"polars"}, code_version="1", skippable=True
    )


def _count(frame: pl.DataFrame, *columns: str) -> list[dict[str, object]]:
    return frame.group_by(columns).agg(pl.len().alias("rows")).sort(columns).to_dicts()
