"""Checks of the reports, before they are compared, and of the leaderboard, before anything is released."""

import json
import math
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from conan_assets.cleaning import EVALUATIONS
from conan_assets.defs.corpus import CORPUS_KEY, judged_key
from conan_assets.defs.gpu import on_the_gpu
from conan_assets.defs.limits import retried
from conan_assets.defs.release import choice_of
from conan_assets.defs.reports import current_report, report_keys
from conan_assets.defs.storage import Storage
from conan_assets.evaluation.report import PER_QUERY, ReleaseReport, TaskData, in_points, parse
from conan_assets.settings import Settings

if TYPE_CHECKING:
    from conan_assets.evaluation.comparison import Comparison, Scores

LEADERBOARD_KEY = dg.AssetKey("leaderboard")
RELEASE_KEY = dg.AssetKey("released_model")
REGRESSION = "no_regression_since_the_last_release"


def build_report_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """Return the checks of every report, of the leaderboard and of the release."""
    reports = [_check_report(key, number) for key, (number, _) in report_keys(settings).items()]
    return [*reports, _check_leaderboard(settings), _check_release()]


def _check_report(key: dg.AssetKey, number: int) -> dg.AssetChecksDefinition:
    first = dg.AssetKey(["round_0", key.path[-1]])
    specs = [
        dg.AssetCheckSpec(
            "scores_are_numbers", asset=key, blocking=True, description="Every score is finite and from -1 to 1."
        ),
        dg.AssetCheckSpec("every_task_ran", asset=key, description="No task was left out, nor of the baselines."),
    ]
    if number:
        specs.append(
            dg.AssetCheckSpec(
                "same_data_as_round_0",
                asset=key,
                blocking=True,
                additional_deps=[first],
                description="Every task was scored on the revision of its data that round 0 was scored on.",
            )
        )

    @dg.multi_asset_check(name=f"{'_'.join(key.path)}_checks", specs=specs)
    def checks(storage: Storage) -> Iterator[dg.AssetCheckResult]:
        report = current_report(storage, key)
        wrong = [asdict(row) for row in report.rows if not (math.isfinite(row.value) and abs(row.value) <= 1)]
        yield _result(key, "scores_are_numbers", bool(report.rows) and not wrong, {"wrong": wrong})
        left_out = report.tasks_not_run()
        yield _result(key, "every_task_ran", not left_out, {"not_run": left_out}, warn=True)
        if number:
            changed = _changed_data(current_report(storage, first).data, report.data)
            yield _result(key, "same_data_as_round_0", not changed, {"changed": changed})

    return checks


def _changed_data(before: list[TaskData], after: list[TaskData]) -> list[dict[str, Any]]:
    """Return the tasks in both lists whose data have another revision."""
    known = {(task.suite, task.task): task.revision for task in before}
    rows = [{**asdict(task), "before": known.get((task.suite, task.task), task.revision)} for task in after]
    return [row for row in rows if row["before"] != row["revision"]]


def _check_leaderboard(settings: Settings) -> dg.AssetChecksDefinition:
    chosen_by = settings.dev_metric

    spec = dg.AssetCheckSpec(
        REGRESSION,
        asset=LEADERBOARD_KEY,
        blocking=True,
        additional_deps=list(report_keys(settings)),
        description=f"The best checkpoint's {chosen_by.metric} on {chosen_by.suite} is not below that of the model "
        "released before, on any split, by more than chance (paired bootstrap over queries, 95 %).",
    )

    @dg.multi_asset_check(name="leaderboard_checks", specs=[spec])
    @retried
    @on_the_gpu
    def check(storage: Storage) -> Iterator[dg.AssetCheckResult]:
        from conan_assets.evaluation.comparison import Scores, compare, kept_scores

        release = storage.release
        if release is None:
            yield _result(LEADERBOARD_KEY, REGRESSION, True, {"compared": "nothing has been released before"})
            return
        best = choice_of(settings, storage).best
        ours = Scores.of(best)
        made_by = storage.artifacts.reusable(RELEASE_KEY.to_user_string(), release.name)
        before = parse(ReleaseReport, made_by.report, made_by.key).evaluated_on if made_by else []
        is_other_data = any(row["suite"] == chosen_by.suite for row in _changed_data(before, best.report.data))
        kept = kept_scores(made_by.path) if made_by and not is_other_data else None
        rows = compare(ours, kept, chosen_by.suite, chosen_by.metric) if kept else []
        what = f"{best.round} against the release {release.name}"
        if not rows:
            what += ", scored again on the data of today"
            again = _score_again(settings, storage, release)
            rows = compare(ours, again, chosen_by.suite, chosen_by.metric)
        yield _compared(what, rows)

    return check


def _score_again(settings: Settings, storage: Storage, release: Path) -> "Scores":
    """Score a released model on the suite of the dev metric as it is now, with the prompts of its own."""
    from conan_assets.encoding.encoder import Encoder
    from conan_assets.evaluation.comparison import Scores
    from conan_assets.evaluation.run import evaluate_encoder

    prompts = json.loads((release / "config_sentence_transformers.json").read_text(encoding="utf-8"))["prompts"]
    encoder = Encoder(
        replace(
            settings.base_model,
            model=str(release),
            revision=None,
            query_prompt=prompts["query"],
            document_prompt=prompts["document"],
            max_tokens=None,
        )
    )
    name = settings.dev_metric.suite
    suites = {name: settings.all_suites[name]}
    corpus, pairs = (storage.table(key).collect() for key in (CORPUS_KEY, judged_key(settings)))
    with tempfile.TemporaryDirectory() as folder:
        report = evaluate_encoder(
            encoder, storage.embeddings, suites, corpus, pairs, Path(folder), storage.root / EVALUATIONS
        )
        return Scores(pl.read_parquet(Path(folder) / PER_QUERY), report.rows)


def _compared(what: str, rows: "list[Comparison]") -> dg.AssetCheckResult:
    """Return the verdict on what was compared; a warning when nothing could be."""
    from conan_assets.evaluation.comparison import LARGEST_DROP

    if not rows:
        what = "not compared: the model released before has no score in common with the best round"
    elif not all(row.queries for row in rows):
        what += f"; without scores per query a drop by more than {LARGEST_DROP} counts as worse"
    passed = bool(rows) and not any(row.worse for row in rows)
    seen = {"compared": what, "differences": [in_points(row) for row in rows]}
    return _result(LEADERBOARD_KEY, REGRESSION, passed, seen, warn=not rows)


def _check_release() -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=RELEASE_KEY,
        name="loads_without_pickle",
        description="The release holds safetensors alone and the weights that its report names.",
    )
    def check(storage: Storage) -> dg.AssetCheckResult:
        from conan_assets.encoding.models import fingerprint_model, pickles_in

        released = storage.current(RELEASE_KEY)
        folder = storage.release_of(released.fingerprint)
        pickles = [path.name for path in pickles_in(folder)]
        weights = fingerprint_model(str(folder))
        same = weights == parse(ReleaseReport, released.report, released.key).weights_fingerprint
        return dg.AssetCheckResult(passed=same and not pickles, metadata={"weights": weights, "pickles": pickles})

    return check


def _result(
    key: dg.AssetKey, name: str, passed: bool, metadata: dict[str, Any], warn: bool = False
) -> dg.AssetCheckResult:
    severity = dg.AssetCheckSeverity.WARN if warn else dg.AssetCheckSeverity.ERROR
    return dg.AssetCheckResult(asset_key=key, check_name=name, passed=passed, metadata=metadata, severity=severity)
