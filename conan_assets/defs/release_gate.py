"""What stands between the best round and its release: the latest verdicts of the checks on what it was made from."""

import logging
from collections.abc import Iterator, Sequence

import dagster as dg

from conan_assets.defs.dagster_internals import AssetCheckExecutionRecord

logger = logging.getLogger("conan_assets")

WAITS = 60
SECONDS_TO_WAIT = 10
RECORDS_READ = 1_000


class FailedChecksError(ValueError):
    """The best round is not released: checks on what it was made from failed or came to no verdict."""


def require_passed_checks(
    context: dg.AssetExecutionContext, round_name: str, checks: Sequence[dg.AssetCheckKey]
) -> list[dict[str, str]]:
    """Return the ``checks`` that a round's release depends on with their latest verdicts, if none of them forbids it.

    Warnings do not; a check that never ran on this instance is logged.

    Raises
    ------
    FailedChecksError
        A check failed with severity ERROR, or a run ended before it came to a verdict.
    dagster.RetryRequested
        A check of this run is still to come to its verdict.
    """
    verdicts = list(_verdicts(context, checks))
    if any(verdict == "running" for _, verdict in verdicts):
        raise dg.RetryRequested(max_retries=WAITS, seconds_to_wait=SECONDS_TO_WAIT)
    bad = [f"{name} {verdict}" for name, verdict in verdicts if verdict in ("failed", "did not finish")]
    if bad:
        raise FailedChecksError(
            f"{round_name} is the best round but is not released: {'; '.join(bad)}; look at the check, correct its "
            "cause, and materialize the asset that it is on again"
        )
    unknown = [name for name, verdict in verdicts if verdict == "never ran"]
    if unknown:
        logger.warning("%s is released though checks on it never ran here: %s", round_name, ", ".join(unknown))
    return [{"check": name, "verdict": verdict} for name, verdict in verdicts]


def _verdicts(context: dg.AssetExecutionContext, checks: Sequence[dg.AssetCheckKey]) -> Iterator[tuple[str, str]]:
    storage = context.instance.event_log_storage
    for key in checks:
        history = storage.get_asset_check_execution_history(key, limit=RECORDS_READ)
        of_this_run = [record for record in history if record.run_id == context.run.run_id]
        # Dagster plans the checks of a run when it is queued: the newest record may be that of a run to come.
        came_to_a_verdict = [record for record in history if record.status.value != "PLANNED"]
        name = f"{key.asset_key.to_user_string()}: {key.name}"
        if of_this_run and of_this_run[0].status.value == "PLANNED":
            yield name, "running"
        elif of_this_run or came_to_a_verdict:
            yield name, _verdict([*of_this_run, *came_to_a_verdict][0])
        else:
            yield name, "did not finish" if any(_was_begun(context.instance, each) for each in history) else "never ran"


def _verdict(record: AssetCheckExecutionRecord) -> str:
    if record.status.value == "SUCCEEDED":
        return "passed"
    is_error = record.evaluation is None or record.evaluation.severity == dg.AssetCheckSeverity.ERROR
    return "failed" if is_error else "warned"


def _was_begun(instance: dg.DagsterInstance, planned: AssetCheckExecutionRecord) -> bool:
    """Return whether the run that planned a check went as far as the step that is to come to its verdict."""
    started = instance.get_records_for_run(planned.run_id, of_type=dg.DagsterEventType.STEP_START).records
    step = planned.event.step_key if planned.event else None
    return step in {record.event_log_entry.step_key for record in started}
