"""Train every way with every seed and score what came out; what is finished in the home is not made again."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import polars as pl

from conan_assets.artifacts import Artifact, ArtifactStore
from conan_assets.compare.peer import train_sentence_transformers
from conan_assets.compare.ways import SENTENCE_TRANSFORMERS, Comparison, programme
from conan_assets.definitions import build_defs
from conan_assets.evaluation.report import BASE_MODEL, PER_QUERY, RoundReport, baseline_per_query, parse
from conan_assets.progress import logger
from conan_assets.settings import Settings, SettingsError

QUERY = ("task", "subset", "split", "query_id")


@dataclass(frozen=True)
class Run:
    """One way trained with one seed.

    Attributes
    ----------
    way, seed, steps, rounds
        What was trained, and for how many optimizer steps in how many rounds.
    seconds
        What its mining and its training took when they were done.
    scores
        The dev metric of every query of the dev metric's suite: :data:`QUERY` and ``value``.
    """

    way: str
    seed: int
    steps: int
    rounds: int
    seconds: float
    scores: pl.DataFrame


def run_all(profile: str | None, comparison: Comparison, equal_seconds: bool, home: Path) -> Iterator[Run]:
    """Yield the baselines, the base model, and every way with every seed, seed by seed.

    With ``equal_seconds`` every way but the first gets as many steps as fit into the seconds that the first takes for
    ``comparison.steps``, by the pace of a trial run with the first seed, and at least one step a round.
    """
    first = next(iter(comparison.ways))
    steps = dict.fromkeys(comparison.ways, comparison.steps)
    settings = programme(profile, first, {}, comparison.steps, comparison.seeds[0], home)
    _materialize(settings, _report_key(settings, 0))
    yield from _baselines(settings)
    if equal_seconds:
        trials = {name: _run_way(profile, comparison, name, comparison.steps, 0, home) for name in comparison.ways}
        steps = {name: _steps_in(trials[first].seconds, trial) for name, trial in trials.items()}
    for place in range(len(comparison.seeds)):
        for name in comparison.ways:
            yield _run_way(profile, comparison, name, steps[name], place, home)


def _run_way(profile: str | None, comparison: Comparison, name: str, steps: int, place: int, home: Path) -> Run:
    way, seed = comparison.ways[name], comparison.seeds[place]
    logger.info("way %r, seed %d, %d steps", name, seed, steps)
    settings = programme(profile, name, way, steps, seed, home)
    if way == SENTENCE_TRANSFORMERS:
        _materialize(settings, "training_pairs")
        folder, seconds = train_sentence_transformers(settings)
    else:
        _materialize(settings, _report_key(settings, settings.rounds))
        folder, seconds = _report(settings, settings.rounds).path, _seconds(settings)
    return Run(name, seed, steps, settings.rounds, seconds, _scores(settings, folder / PER_QUERY))


def _steps_in(seconds: float, trial: Run) -> int:
    return max(trial.rounds, round(trial.steps * seconds / trial.seconds))


def _baselines(settings: Settings) -> Iterator[Run]:
    report = _report(settings, 0)
    baselines = parse(RoundReport, report.report, _report_key(settings, 0)).baselines
    files = {baseline.model: baseline_per_query(name) for name, baseline in baselines.items()}
    for label, file in {**files, BASE_MODEL: PER_QUERY}.items():
        yield Run(label, 0, 0, 0, 0.0, _scores(settings, report.path / file))


def _materialize(settings: Settings, key: str) -> None:
    """Materialize an asset and all that it is made from."""
    definitions = build_defs(settings)
    keys = dg.AssetSelection.assets(key.split("/")).upstream().resolve(definitions.resolve_asset_graph())
    job = definitions.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        job.execute_in_process(instance=instance, asset_selection=list(keys))


def _report_key(settings: Settings, number: int) -> str:
    (name,) = (name for name, suites in settings.suites.items() if settings.dev_metric.suite in suites)
    return f"round_{number}/{name}_report"


def _report(settings: Settings, number: int) -> Artifact:
    artifacts = _artifacts(settings)
    return artifacts.require_intact(artifacts.current(_report_key(settings, number)))


def _artifacts(settings: Settings) -> ArtifactStore:
    return ArtifactStore(settings.root / "assets", settings.keep_versions)


def _seconds(settings: Settings) -> float:
    made = [
        f"round_{number}/{part}"
        for number in range(1, settings.rounds + 1)
        for part in ("hard_negatives", "checkpoint")
    ]
    return sum(float(_artifacts(settings).current(key).report["seconds"]) for key in made)


def _scores(settings: Settings, path: Path) -> pl.DataFrame:
    queries = pl.read_parquet(path).filter(pl.col("suite") == settings.dev_metric.suite)
    metric = settings.dev_metric.metric
    if queries.is_empty() or metric not in queries.columns:
        raise SettingsError(
            f"dev_metric is {metric} on the suite {settings.dev_metric.suite!r}, which has no scores of single queries "
            "to pair: name a retrieval suite and one of ndcg_at_10, map_at_1000, recall_at_100, mrr_at_10"
        )
    return queries.select(*QUERY, value=metric)
