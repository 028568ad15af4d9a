"""Stage 3, curation: `training_pairs`, filtered, de-duplicated and free of evaluation data."""

from collections.abc import Sequence
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl

from conan_assets.cleaning import TABLE
from conan_assets.data.curation import CURATION_VERSION, TeacherFloor, curate
from conan_assets.data.tables import PAIRS
from conan_assets.data.text import cleaned, text_key
from conan_assets.defs.corpus import PAIRS_KEY, judged_key
from conan_assets.defs.gpu import on_the_gpu, unlimited
from conan_assets.defs.limits import retried
from conan_assets.defs.metadata import markdown_table
from conan_assets.defs.reuse import Report, code_version, reuse_or_build
from conan_assets.defs.storage import Storage
from conan_assets.encoding.models import fingerprint_model
from conan_assets.encoding.settings import ENCODING_VERSION
from conan_assets.evaluation.settings import LocalSuite
from conan_assets.plots import plot_bars
from conan_assets.settings import Settings
from conan_assets.settings.sections import TeacherScoreSettings

PICTURE = "removed_by_step.png"


def build_curation_assets(settings: Settings) -> list[dg.AssetsDefinition | dg.AssetChecksDefinition]:
    """Return the asset of the training pairs and its checks."""
    languages = {name: source.language for name, source in settings.sources.items() if source.language}
    scored = settings.curation.teacher_score

    @dg.asset(
        ins={"raw_pairs": dg.AssetIn(judged_key(settings))},
        group_name="data",
        kinds={"polars"},
        code_version=code_version(curation=CURATION_VERSION, encoding=ENCODING_VERSION),
    )
    @retried
    @(unlimited if scored is None else on_the_gpu)
    def training_pairs(
        context: dg.AssetExecutionContext,
        storage: Storage,
        raw_corpus: pl.LazyFrame,
        raw_pairs: pl.LazyFrame,
        prompt_response_pairs: pl.LazyFrame,
    ) -> dg.MaterializeResult[None]:
        """Keep what the rounds train on: natural and written pairs, without anything that an evaluation set holds."""
        from conan_assets.evaluation.suites import require_measured, suite_files_fingerprint

        chosen_by = settings.dev_metric
        require_measured(chosen_by.suite, settings.all_suites[chosen_by.suite], chosen_by.split, chosen_by.metric)

        def build(directory: Path) -> Report:
            scores = None if scored is None else _Cosines(scored, storage)
            report = curate(
                _own_pairs(settings, raw_pairs).select(*PAIRS.columns),
                prompt_response_pairs.filter(pl.col("split") == "train").select(*PAIRS.columns),
                raw_corpus,
                _evaluation_queries(settings, raw_pairs),
                settings.curation,
                directory / TABLE,
                languages,
                None if scores is None else TeacherFloor(scores, scores.floor),
                storage.spread,
            )
            report["encoded"] = 0 if scores is None else scores.encoded
            removed = {f"{row['step']}: {row['reason']}": row["removed"] for row in report["removed_by_reason"]}
            return {"picture": plot_bars(directory / PICTURE, removed, "pairs removed"), **report}

        recipe = {
            "languages": languages,
            "curation": settings.curation,
            "suites": settings.suites,
            "files": suite_files_fingerprint(settings.all_suites),
            "weights": fingerprint_model(scored.encoder.model, scored.encoder.revision) if scored is not None else None,
        }
        return reuse_or_build(context, storage, recipe, build)

    return [training_pairs, _check_leaks(settings, training_pairs), _check_overlap(settings, training_pairs)]


def _check_leaks(settings: Settings, training_pairs: dg.AssetsDefinition) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=training_pairs,
        additional_ins={"raw_pairs": dg.AssetIn(judged_key(settings))},
        blocking=True,
        description="No query of an evaluation split is trained on, nor as a sentence of a graded pair.",
    )
    def no_evaluation_query(training_pairs: pl.LazyFrame, raw_pairs: pl.LazyFrame) -> dg.AssetCheckResult:
        judged = _asked(raw_pairs.filter(pl.col("split") != "train")).collect()["query"]
        named = [pl.Series("query", list(texts)) for texts in _evaluation_queries(settings, raw_pairs).values()]
        key = text_key(cleaned(pl.col("query")))
        held_out = pl.concat([judged, *named]).to_frame().lazy().select(key=key).unique()
        trained = _asked(training_pairs).with_columns(key=key).join(held_out, on="key", how="semi")
        leaked = trained.select(pl.col("query").n_unique()).collect(engine="streaming").item()
        return dg.AssetCheckResult(passed=leaked == 0, metadata={"leaked_queries": leaked})

    return no_evaluation_query


def _check_overlap(settings: Settings, training_pairs: dg.AssetsDefinition) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=training_pairs,
        description="No more of any source's pairs than curation.max_contaminated_share overlapped an evaluation set: "
        "the same query, normalised, nearly the same, or a judged pair. They are removed, but the source is suspect.",
    )
    def evaluation_overlap(storage: Storage) -> dg.AssetCheckResult:
        report = storage.current(training_pairs.key).report
        by_dataset, limit = report["contaminated_by_dataset"], settings.curation.max_contaminated_share
        share = max((row["share"] for row in by_dataset), default=0.0)
        metadata = {
            "contaminated_share": share,
            "limit": limit,
            "by_dataset": dg.MetadataValue.md(markdown_table(by_dataset)),
            "decontamination": dg.MetadataValue.md(markdown_table(report["decontamination"])),
        }
        return dg.AssetCheckResult(passed=share <= limit, metadata=metadata)

    return evaluation_overlap


def _own_pairs(settings: Settings, raw_pairs: pl.LazyFrame) -> pl.LazyFrame:
    """Return the judged pairs without those to train on that `prompt_response_pairs` has too."""
    if judged_key(settings) == PAIRS_KEY:
        return raw_pairs
    return raw_pairs.filter((pl.col("split") != "train") | pl.col("written_by").is_null())


def _asked(pairs: pl.LazyFrame) -> pl.LazyFrame:
    """Return ``query``: the queries of pairs, and the second sentences of graded ones."""
    sentences = pairs.filter(pl.col("task") == "sts").select(query="text")
    return pl.concat([pairs.select("query"), sentences.drop_nulls()])


def _evaluation_queries(settings: Settings, raw_pairs: pl.LazyFrame) -> dict[str, Sequence[str]]:
    """Return the queries of every suite by its name."""
    from conan_assets.evaluation.suites import evaluation_queries

    local = [suite for suite in settings.all_suites.values() if isinstance(suite, LocalSuite)]
    datasets, splits = {suite.dataset for suite in local}, {split for suite in local for split in suite.splits}
    judged = raw_pairs.filter(pl.col("dataset").is_in(datasets), pl.col("split").is_in(splits)).collect()
    return {name: evaluation_queries({name: suite}, judged) for name, suite in settings.all_suites.items()}


class _Cosines:
    """Scores pairs by cosines of stored embeddings, and counts the texts that had to be encoded for them."""

    def __init__(self, settings: TeacherScoreSettings, storage: Storage) -> None:
        from conan_assets.encoding.encoder import Encoder

        self._encoder = Encoder(settings.encoder)
        self._store = storage.embeddings
        self.floor = settings.floor
        self.encoded = 0

    def __call__(self, queries: Sequence[str], documents: Sequence[str]) -> np.ndarray:
        """Return the cosine of each query and its document."""
        from conan_assets.search.embeddings import BiEncoderRetriever

        retriever = BiEncoderRetriever(self._encoder, self._store, documents)
        rows = np.arange(len(queries))
        cosines = retriever.score(queries, rows, rows)
        self.encoded += retriever.effort.encoded
        return cosines
