"""Stage 2, written pairs: `prompt_response_pairs` from a generator over the corpus."""

from pathlib import Path

import dagster as dg
import polars as pl

from conan_assets.defs.reuse import Report, reuse_or_build, write_table
from conan_assets.defs.storage import Storage
from conan_assets.settings import Settings


def build_synthesis_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """Return the asset that writes pairs."""

    @dg.asset(group_name="pairs", kinds={"polars", "openai"}, code_version="1")
    def prompt_response_pairs(
        context: dg.AssetExecutionContext, storage: Storage, raw_corpus: pl.LazyFrame, raw_pairs: pl.LazyFrame
    ) -> dg.MaterializeResult:
        """Write pairs for the corpus: by an LLM, or by the extractive generator where no endpoint is set."""
        from conan_assets.synthesis.generation import generate_pairs

        def build(directory: Path) -> Report:
            pairs, report = generate_pairs(
                settings.generation, raw_corpus.collect(), raw_pairs.collect(), storage.root / "journal"
            )
            write_table(pairs, directory)
            return report

        return reuse_or_build(context, storage, {"generation": settings.generation}, build)

    return [prompt_response_pairs]
