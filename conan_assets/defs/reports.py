"""Stage 6, the reports: `round_k/beir_report` and `round_k/cmteb_report` score the checkpoint of every round."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import dagster as dg
import polars as pl

from conan_assets.defs.reuse import Report, reuse_or_build
from conan_assets.defs.rounds import checkpoint_encoder, round_key
from conan_assets.defs.storage import Storage
from conan_assets.evaluation.settings import SuiteSettings
from conan_assets.settings import ReportName, Settings


def report_keys(settings: Settings) -> dict[dg.AssetKey, tuple[int, ReportName]]:
    """Return the key of every report with its round and name, in the order of the rounds."""
    return {
        round_key(number, f"{name}_report"): (number, name)
        for number in range(settings.rounds + 1)
        for name, suites in settings.suites.items()
        if suites
    }


def build_report_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """Return one report per round and group of suites; round 0 scores BM25 beside the base model."""
    return [
        _build_report(settings, number, name, settings.suites[name]) for number, name in report_keys(settings).values()
    ]


def _build_report(
    settings: Settings, number: int, name: ReportName, suites: Mapping[str, SuiteSettings]
) -> dg.AssetsDefinition:
    checkpoint = round_key(number, "checkpoint")
    earlier = {"base model": 0, "previous round": number - 1} if number > 1 else {"base model": 0} if number else {}
    compared = {label: round_key(other, f"{name}_report") for label, other in earlier.items()}

    @dg.asset(
        key=round_key(number, f"{name}_report"),
        deps=[checkpoint, *compared.values()],
        group_name=f"round_{number}",
        kinds={"mteb"},
        code_version="1",
        description=f"nDCG@10 and more of round {number}'s checkpoint on {', '.join(suites)}.",
    )
    def report(
        context: dg.AssetExecutionContext, storage: Storage, raw_corpus: pl.LazyFrame, raw_pairs: pl.LazyFrame
    ) -> dg.MaterializeResult:
        from conan_assets.encoding.encoder import Encoder
        from conan_assets.evaluation.run import evaluate_bm25, evaluate_encoder
        from conan_assets.evaluation.suites import suite_files_fingerprint

        def build(directory: Path) -> Report:
            corpus, pairs = raw_corpus.collect(), raw_pairs.collect()
            encoder = checkpoint_encoder(settings, storage.current(checkpoint))
            references = {label: storage.current(key).path for label, key in compared.items()}
            scored = evaluate_encoder(encoder, storage.embeddings, suites, corpus, pairs, directory, references)
            if number == 0 and settings.pretraining is not None:
                base = Encoder(settings.base_model)
                scored["base_model"] = evaluate_encoder(
                    base, storage.embeddings, suites, corpus, pairs, directory / "base_model"
                )
            if number == 0:
                scored["bm25"] = evaluate_bm25(suites, corpus, pairs, directory)
            return scored

        recipe = {
            "suites": suites,
            "files": suite_files_fingerprint(suites),
            "encoder": settings.base_model,
            "mteb": version("mteb"),
        }
        return reuse_or_build(context, storage, recipe, build)

    return report
