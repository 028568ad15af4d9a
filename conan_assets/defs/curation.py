"""Stage 3, curation: `training_pairs`, filtered, de-duplicated and free of evaluation data."""

from pathlib import Path

import dagster as dg
import polars as pl

from conan_assets.data.curation import curate
from conan_assets.data.text import cleaned, comparison_key
from conan_assets.defs.reuse import Report, reuse_or_build, write_table
from conan_assets.defs.storage import Storage
from conan_assets.settings import Settings


def build_curation_assets(settings: Settings) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Return the asset of the training pairs and its checks."""
    languages = {name: source.language for name, source in settings.sources.items() if source.language}

    @dg.asset(group_name="pairs", kinds={"polars"}, code_version="1")
    def training_pairs(
        context: dg.AssetExecutionContext,
        storage: Storage,
        raw_corpus: pl.LazyFrame,
        raw_pairs: pl.LazyFrame,
        prompt_response_pairs: pl.LazyFrame,
    ) -> dg.MaterializeResult:
        """Keep what the rounds train on: natural and written pairs, without anything that an evaluation set holds."""
        from conan_assets.evaluation.suites import evaluation_queries, suite_files_fingerprint

        def build(directory: Path) -> Report:
            natural = raw_pairs.collect()
            pairs, report = curate(
                natural,
                prompt_response_pairs.collect(),
                raw_corpus.collect(),
                evaluation_queries(settings.all_suites, natural),
                settings.curation,
                languages,
            )
            write_table(pairs, directory)
            return report

        recipe = {
            "languages": languages,
            "curation": settings.curation,
            "suites": settings.suites,
            "files": suite_files_fingerprint(settings.all_suites),
        }
        return reuse_or_build(context, storage, recipe, build)

    @dg.asset_check(
        asset=training_pairs,
        additional_ins={"raw_pairs": dg.AssetIn("raw_pairs")},
        blocking=True,
        description="No query of an evaluation split is trained on.",
    )
    def no_evaluation_query(training_pairs: pl.LazyFrame, raw_pairs: pl.LazyFrame) -> dg.AssetCheckResult:
        from conan_assets.evaluation.suites import evaluation_queries

        judged = raw_pairs.filter(pl.col("split") != "train").collect()
        held_out = pl.concat([judged["query"], pl.Series("query", evaluation_queries(settings.all_suites, judged))])
        key = comparison_key(cleaned(pl.col("query")))
        trained = training_pairs.select("query", key=key).collect()
        leaked = trained.join(held_out.to_frame().select(key=key), on="key", how="semi")["query"].unique()
        return dg.AssetCheckResult(passed=leaked.is_empty(), metadata={"leaked_queries": len(leaked)})

    return [training_pairs, no_evaluation_query]
