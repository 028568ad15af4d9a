"""Stage 6, the reports: `round_k/beir_report` and `round_k/cmteb_report` score the checkpoint of every round."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import dagster as dg
import polars as pl

from conan_assets.cleaning import EVALUATIONS
from conan_assets.defs.checkpoints import SCRATCH_NOTE, base_model_of, checkpoint_encoder, round_key
from conan_assets.defs.corpus import judged_key
from conan_assets.defs.gpu import on_the_gpu
from conan_assets.defs.limits import retried
from conan_assets.defs.metadata import markdown_table
from conan_assets.defs.reuse import Report, code_version, reuse_or_build
from conan_assets.defs.storage import Storage
from conan_assets.encoding.settings import ENCODING_VERSION
from conan_assets.evaluation.report import EVALUATION_VERSION, RoundReport, WorstQuery, as_json, in_points, parse
from conan_assets.evaluation.settings import SuiteSettings
from conan_assets.markdown import as_table, escaped
from conan_assets.search.settings import SEARCH_VERSION, TeacherSettings
from conan_assets.search.teachers import teacher_recipe
from conan_assets.settings import ReportName, Settings

BASE_MODEL_FOLDER = "base_model"
SHOWN_IN_POINTS = ("rows", "lengths", "differences", "means", "beside_published")


def report_keys(settings: Settings) -> dict[dg.AssetKey, tuple[int, ReportName]]:
    """Return the key of every report with its round and name, in the order of the rounds."""
    return {
        round_key(number, f"{name}_report"): (number, name)
        for number in range(settings.rounds + 1)
        for name, suites in settings.suites.items()
        if suites
    }


def build_report_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """Return one report per round and group of suites; round 0 scores the baselines beside the base model."""
    return [
        _build_report(settings, number, name, settings.suites[name]) for number, name in report_keys(settings).values()
    ]


def _build_report(
    settings: Settings, number: int, name: ReportName, suites: Mapping[str, SuiteSettings]
) -> dg.AssetsDefinition:
    checkpoint = round_key(number, "checkpoint")
    earlier = [round_key(other, f"{name}_report") for other in sorted({0, number - 1}) if 0 <= other < number]

    key = round_key(number, f"{name}_report")
    dims = settings.training[-1].matryoshka_dims
    teachers = settings.baseline_teachers if number == 0 else {}

    @dg.asset(
        key=key,
        ins={"raw_pairs": dg.AssetIn(judged_key(settings))},
        deps=[checkpoint, *earlier],
        group_name=f"round_{number}",
        kinds={"mteb"},
        code_version=code_version(evaluation=EVALUATION_VERSION, encoding=ENCODING_VERSION, search=SEARCH_VERSION),
        description=f"nDCG@10 and more of round {number}'s checkpoint on {', '.join(suites)}.",
    )
    @retried
    @on_the_gpu
    def report(
        context: dg.AssetExecutionContext, storage: Storage, raw_corpus: pl.LazyFrame, raw_pairs: pl.LazyFrame
    ) -> dg.MaterializeResult[None]:
        from conan_assets.encoding.encoder import Encoder
        from conan_assets.evaluation.models import baseline_model, hybrid_model
        from conan_assets.evaluation.run import evaluate_baseline, evaluate_encoder

        def build(directory: Path) -> Report:
            corpus, pairs = raw_corpus.collect(), raw_pairs.collect()
            finished, store = storage.root / EVALUATIONS, storage.embeddings
            baselines = {
                name: evaluate_baseline(
                    baseline_model(name, teacher, store), suites, corpus, pairs, directory, finished
                )
                for name, teacher in teachers.items()
            }
            base_model = None
            if number == 0 and not settings.starts_from_base_model:
                base = Encoder(base_model_of(settings, storage.current(checkpoint)))
                base_model = evaluate_encoder(
                    base, store, suites, corpus, pairs, directory / BASE_MODEL_FOLDER, finished, dims=dims
                )
            encoder = checkpoint_encoder(settings, storage.current(checkpoint))
            references = _references(settings, number, directory, [storage.current(key).path for key in earlier])
            scored = evaluate_encoder(encoder, store, suites, corpus, pairs, directory, finished, references, dims)
            hybrid = None
            if settings.has_bm25_baseline:
                both = hybrid_model(encoder, store)
                hybrid = evaluate_baseline(both, suites, corpus, pairs, directory, finished)
            note = None if settings.from_scratch is None else SCRATCH_NOTE
            report = RoundReport(**vars(scored), baselines=baselines, hybrid=hybrid, base_model=base_model, note=note)
            return as_json(report)

        recipe = _recipe(settings, suites, teachers)
        result = reuse_or_build(context, storage, recipe, build, unfinished=_names_of_tasks_not_run)
        return result._replace(metadata={**(result.metadata or {}), **_tables(current_report(storage, key))})

    return report


def _recipe(
    settings: Settings, suites: Mapping[str, SuiteSettings], baselines: Mapping[str, TeacherSettings]
) -> dict[str, object]:
    """Return what decides a report beside the checkpoint and versions of code."""
    from conan_assets.evaluation.suites import suite_files_fingerprint

    return {
        "suites": suites,
        "files": suite_files_fingerprint(suites),
        "encoder": settings.base_model,
        "mteb": version("mteb"),
        "dims": settings.training[-1].matryoshka_dims,
        "baselines": {name: teacher_recipe(teacher) for name, teacher in baselines.items()},
        "hybrid": settings.has_bm25_baseline,
    }


def _tables(report: RoundReport) -> dict[str, dg.MetadataValue]:
    """Return the tables of a report in points, as its page shows them in place of the values in the manifest."""
    baselines = {**report.baselines, "hybrid": report.hybrid, "base_model": report.base_model}
    rows: dict[str, Sequence[object]] = {
        **{name: getattr(report, name) for name in SHOWN_IN_POINTS},
        **{name: baseline.rows for name, baseline in baselines.items() if baseline},
    }
    tables = {name: markdown_table([in_points(row) for row in each]) for name, each in rows.items() if each}
    pages = {**tables, "worst_queries": worst_page(report.worst_queries)}
    return {name: dg.MetadataValue.md(page) for name, page in pages.items() if page}


def worst_page(queries: Sequence[WorstQuery]) -> str:
    """Return the worst queries as Markdown: a table each of what was expected and what stood above it."""
    return "\n\n".join(
        f"**{escaped(worst.query)}** ({escaped(worst.query_id)}, {escaped(worst.task)}, {worst.split})\n\n"
        + as_table(
            (f"nDCG@10 {100 * worst.ndcg_at_10:.1f}", "text"),
            [
                (f"relevant, found at place {worst.rank or 'beyond 10'}", worst.expected),
                ("above it", worst.instead),
            ],
        )
        for worst in queries
    )


def current_report(storage: Storage, key: dg.AssetKey) -> RoundReport:
    """Return the report of a round; raise EvaluationError if its manifest is another version's."""
    return parse(RoundReport, storage.current(key).report, key.to_user_string())


def _names_of_tasks_not_run(report: Report) -> list[str]:
    tasks = parse(RoundReport, report, "the round").tasks_not_run()
    return ["/".join(task[name] for name in ("model", "suite", "task")) for task in tasks]


def _references(settings: Settings, number: int, directory: Path, earlier: Sequence[Path]) -> dict[str, Path]:
    """Return where the scores lie that a round is compared with: the base model's and those of the round before.

    ``earlier`` holds the reports of round 0 and of the round before, which in round 1 are the same.
    """
    if settings.starts_from_base_model:
        return dict(zip(("base model", "previous round"), earlier, strict=False))
    base = (earlier[0] if earlier else directory) / BASE_MODEL_FOLDER
    return {"base model": base, **({"previous round": earlier[-1]} if number else {})}
