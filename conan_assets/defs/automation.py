"""When the graph runs by itself, and who hears of it: the job over everything, its schedule, its sensors.

All of it is stopped until someone starts it in the UI or with ``dagster schedule start`` and ``dagster sensor start``.
"""

import http.client
import json
import os
import time
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial

import dagster as dg

from conan_assets.artifacts import Artifact, fingerprint
from conan_assets.bucket.errors import BucketError
from conan_assets.defs.checkpoints import round_key
from conan_assets.defs.corpus import CORPUS_KEY, PAIRS_KEY, judged_key, source_fingerprints
from conan_assets.defs.dagster_internals import SerializableErrorInfo
from conan_assets.defs.storage import Storage
from conan_assets.files import ArtifactError
from conan_assets.settings import Settings

RELEASE_KEY = dg.AssetKey("released_model")
WEBHOOK_VARIABLE = "CONAN_FAILURE_WEBHOOK"
WEBHOOK_SECONDS = 5.0
WEBHOOK_ATTEMPTS = 3
SECONDS_BETWEEN_ATTEMPTS = 5.0
SENSOR_SECONDS = 15 * 60

FRESH_RELEASE = dg.FreshnessPolicy.time_window(warn_window=timedelta(days=15), fail_window=timedelta(days=35))
"""Two missed weeks are worth a look, a month without a release is a fault, whether or not a source changed."""

train_job = dg.define_asset_job(
    "train_job",
    selection=dg.AssetSelection.all(),
    description="Materialize everything: finished outputs of unchanged inputs and settings are reused.",
)


def automate(assets: Sequence[dg.AssetsDefinition], settings: Settings) -> list[dg.AssetsDefinition]:
    """Return the assets with what is expected of them over time: a fresh release, reports of every checkpoint."""
    return list(
        dg.map_asset_specs(
            partial(_automate, tables=dg.AssetSelection.assets(CORPUS_KEY, judged_key(settings))), assets
        )
    )


def _automate(spec: dg.AssetSpec, tables: dg.AssetSelection) -> dg.AssetSpec:
    if spec.key == RELEASE_KEY:
        return spec.replace_attributes(freshness_policy=FRESH_RELEASE)
    if spec.key.path[-1].endswith("_report") or spec.key == dg.AssetKey("leaderboard"):
        # Sources that were read again call for training, not for scores of the old checkpoints on them.
        follow = dg.AutomationCondition.eager().ignore(tables).with_label("follows the checkpoint that it is made from")
        return spec.replace_attributes(automation_condition=follow)
    return spec


def build_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """Return the weekly schedule; it skips a week in which no source has changed since the last release."""

    @dg.schedule(
        name="weekly_training",
        job=train_job,
        cron_schedule="0 3 * * 0",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Re-train every Sunday at 03:00, if a source has changed or the last run did not end in a release.",
    )
    def weekly_training(context: dg.ScheduleEvaluationContext, storage: Storage) -> dg.RunRequest | dg.SkipReason:
        changed = changed_sources(storage, source_fingerprints(settings, storage))
        if changed:
            return dg.RunRequest(tags={"conan/changed_sources": ",".join(changed)})
        if not _is_released(settings, storage):
            return dg.RunRequest(tags={"conan/unfinished": "true"})
        return dg.SkipReason("no source has changed since the released model was made")

    return weekly_training


def build_source_sensor(settings: Settings) -> dg.SensorDefinition:
    """Return the sensor that requests a run for every new state of the sources: files by content, the hub by commit."""

    @dg.sensor(
        name="changed_sources",
        job=train_job,
        minimum_interval_seconds=SENSOR_SECONDS,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Train as soon as a source's files or its commit on the hub change.",
    )
    def sensor(context: dg.SensorEvaluationContext, storage: Storage) -> dg.RunRequest | dg.SkipReason:
        current = source_fingerprints(settings, storage)
        context.update_cursor(json.dumps(current))
        changed = changed_sources(storage, current)
        if not changed:
            return dg.SkipReason(f"none of the sources has changed: {', '.join(current)}")
        run_key = fingerprint(current, _last_read(storage))
        return dg.RunRequest(run_key=run_key, tags={"conan/changed_sources": ",".join(changed)})

    return sensor


def changed_sources(storage: Storage, current: dict[str, str]) -> list[str]:
    """Return the names of the sources that differ from what the raw tables were last made from."""
    made_from = [_made_from(storage, key) for key in (CORPUS_KEY, PAIRS_KEY)]
    names = sorted({*current, *(name for made in made_from for name in made)})
    return [name for name in names if any(made.get(name) != current.get(name) for made in made_from)]


def _made_from(storage: Storage, key: dg.AssetKey) -> dict[str, str]:
    artifact = _find(storage, key)
    rows = artifact.report.get("sources", []) if artifact else []
    return {row["source"]: row["fingerprint"] for row in rows}


def _last_read(storage: Storage) -> int:
    """Return a number that is another one each time other sources were read to the end: pairs come after the corpus."""
    pairs = _find(storage, PAIRS_KEY)
    return pairs.order if pairs else 0


def _is_released(settings: Settings, storage: Storage) -> bool:
    """Return whether every round was trained on the raw tables as they are now, and the release chosen among them."""
    release = _find(storage, RELEASE_KEY)
    rounds = [_find(storage, round_key(number, "checkpoint")) for number in range(1, settings.rounds + 1)]
    tables = [_find(storage, key) for key in (CORPUS_KEY, PAIRS_KEY)]
    steps = [*((checkpoint, table) for checkpoint in rounds for table in tables), *((release, each) for each in rounds)]
    return all(made and source and made.made_from.get(source.key) == source.content for made, source in steps)


def _find(storage: Storage, key: dg.AssetKey) -> Artifact | None:
    try:
        return storage.artifacts.current(key.to_user_string())
    except BucketError:
        raise
    except ArtifactError:
        return None


@dg.run_failure_sensor(
    name="failed_runs",
    default_status=dg.DefaultSensorStatus.STOPPED,
    description=f"Post every failed run as JSON to the URL in ${WEBHOOK_VARIABLE}.",
)
def failed_runs(context: dg.RunFailureSensorContext) -> None:
    """Tell a webhook of a failed run: Slack and Mattermost show ``text``, others may read the rest."""
    steps = [
        {"step": event.step_key, "error": _first_cause(event.step_failure_data.error)}
        for event in context.get_step_failure_events()
    ]
    run = context.dagster_run
    message = {
        "text": f"{run.job_name} failed: {context.failure_event.message}",
        "run_id": run.run_id,
        "job": run.job_name,
        "failed_steps": steps,
        "tags": {name: value for name, value in run.tags.items() if name.startswith("conan/")},
    }
    context.log.info("failed run %s: %s", run.run_id, message["text"])
    url = os.environ.get(WEBHOOK_VARIABLE)
    if url:
        _post(url, message)


def _first_cause(error: SerializableErrorInfo | None) -> str:
    """Return the first line of the error that the others were raised from."""
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip().split("\n")[0] if error is not None else ""


def _post(url: str, message: Mapping[str, object]) -> None:
    """Post a message, and again if that fails: the sensor goes on to the next failed run in any case."""
    for attempt in range(WEBHOOK_ATTEMPTS):
        if attempt:
            time.sleep(SECONDS_BETWEEN_ATTEMPTS)
        failure = _try_to_post(url, message)
        if failure is None:
            return
    raise RuntimeError(f"the webhook in ${WEBHOOK_VARIABLE} did not take the message: {failure}")


def _try_to_post(url: str, message: Mapping[str, object]) -> str | None:
    """Post a message; return why that failed, or None."""
    body, headers = json.dumps(message).encode(), {"Content-Type": "application/json"}
    try:
        request = urllib.request.Request(url, body, headers, method="POST")
        urllib.request.urlopen(request, timeout=WEBHOOK_SECONDS).close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        # The address is a secret: it must not appear in the tick's error, and errors about it quote it.
        reason = f": {getattr(error, 'reason', error)}" if isinstance(error, OSError) else ""
        return f"{type(error).__name__}{reason}"
    return None
