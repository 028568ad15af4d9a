"""Checks of the reports, before they are compared, and of the leaderboard, before anything is released."""

import math
from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl

from conan_assets.artifacts import Artifact, ArtifactError
from conan_assets.defs.release import leaderboard_entries, reports_of
from conan_assets.defs.reports import report_keys
from conan_assets.defs.storage import Storage
from conan_assets.settings import Settings

LEADERBOARD_KEY = dg.AssetKey("leaderboard")
RELEASE_KEY = dg.AssetKey("released_model")


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
        dg.AssetCheckSpec("every_task_ran", asset=key, description="No task of the suites was left out."),
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
        report = storage.current(key).report
        wrong = [row for row in report["rows"] if not (math.isfinite(row["value"]) and abs(row["value"]) <= 1)]
        yield _result(key, "scores_are_numbers", bool(report["rows"]) and not wrong, {"wrong": wrong})
        left_out = report["not_run"]
        yield _result(key, "every_task_ran", not left_out, {"not_run": left_out}, warn=True)
        if number:
            changed = _changed_data(storage.current(first).report["data"], report["data"])
            yield _result(key, "same_data_as_round_0", not changed, {"changed": changed})

    return checks


def _changed_data(before: list[dict[str, str]], after: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return the tasks in both lists whose data have another revision."""
    known = {(row["suite"], row["task"]): row["revision"] for row in before}
    rows = [{**row, "before": known.get((row["suite"], row["task"]), row["revision"])} for row in after]
    return [row for row in rows if row["before"] != row["revision"]]


def _check_leaderboard(settings: Settings) -> dg.AssetChecksDefinition:
    name = "no_regression_since_the_last_release"
    chosen_by = settings.dev_metric

    @dg.asset_check(
        asset=LEADERBOARD_KEY,
        name=name,
        blocking=True,
        additional_deps=list(report_keys(settings)),
        description=f"The best checkpoint's {chosen_by.metric} on {chosen_by.suite} is not below that of the model "
        "released before, on any split, by more than chance (paired bootstrap over queries, 95 %).",
    )
    def check(storage: Storage) -> dg.AssetCheckResult:
        from conan_assets.evaluation.leaderboard import choose_best
        from conan_assets.evaluation.regression import compare_with_release, kept_scores
        from conan_assets.evaluation.run import PER_QUERY

        try:
            released = storage.current(RELEASE_KEY)
        except ArtifactError:
            return _compared(True, "nothing has been released before", [])
        before = kept_scores(released.path)
        best = choose_best(leaderboard_entries(settings, storage), chosen_by.suite, chosen_by.split, chosen_by.metric)
        if before is None or _changed_data(released.report["evaluated_on"], best.report["data"]):
            return _compared(True, "the model released before was scored on other data: they do not compare", [])
        reports = [storage.current(key) for key in reports_of(settings, best.round)]
        rows = compare_with_release(_scores(reports, PER_QUERY), before, chosen_by.suite, chosen_by.metric)
        worse = any(row["worse"] for row in rows)
        return _compared(not worse, f"{best.round} against {released.report['round']} of the last release", rows)

    return check


def _scores(reports: list[Artifact], name: str) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(report.path / name) for report in reports])


def _compared(passed: bool, what: str, rows: list[dict[str, Any]]) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=passed, metadata={"compared": what, "differences": rows})


def _check_release() -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=RELEASE_KEY,
        name="loads_without_pickle",
        description="The release holds safetensors alone and the weights that its report names.",
    )
    def check(storage: Storage) -> dg.AssetCheckResult:
        from conan_assets.encoding.models import fingerprint_model, pickles_in
        from conan_assets.evaluation.release import RELEASE_FOLDER

        released = storage.current(RELEASE_KEY)
        folder = released.path / RELEASE_FOLDER
        pickles = [path.name for path in pickles_in(folder)]
        weights = fingerprint_model(str(folder))
        same = weights == released.report["weights_fingerprint"]
        return dg.AssetCheckResult(passed=same and not pickles, metadata={"weights": weights, "pickles": pickles})

    return check


def _result(
    key: dg.AssetKey, name: str, passed: bool, metadata: dict[str, Any], warn: bool = False
) -> dg.AssetCheckResult:
    severity = dg.AssetCheckSeverity.WARN if warn else dg.AssetCheckSeverity.ERROR
    return dg.AssetCheckResult(asset_key=key, check_name=name, passed=passed, metadata=metadata, severity=severity)
