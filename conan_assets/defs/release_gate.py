"""What stands between the best round and its release: the latest verdicts of the checks on that round's assets."""

import logging
from collections.abc import Iterator, Sequence

import dagster as dg

logger = logging.getLogger("conan_assets")

WAITS = 60
SECONDS_TO_WAIT = 10


class FailedChecksError(ValueError):
    """The best round is not released: checks on its assets failed or came to no verdict."""


def require_passed_checks(
    context: dg.AssetExecutionContext, round_name: str, checks: Sequence[dg.AssetCheckKey]
) -> list[dict[str, str]]:
    """Return the ``checks`` on a round's assets with their latest verdicts, if none of them forbids a release.

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
            f"cause, and materialize {round_name} again"
        )
    unknown = [name for name, verdict in verdicts if verdict == "never ran"]
    if unknown:
        logger.warning("%s is released though checks on it never ran here: %s", round_name, ", ".join(unknown))
    return [{"check": name, "verdict": verdict} for name, verdict in verdicts]


def _verdicts(context: dg.AssetExecutionContext, checks: Sequence[dg.AssetCheckKey]) -> Iterator[tuple[str, str]]:
    records = context.instance.event_log_storage.get_latest_asset_check_execution_by_key(checks)
    for key in checks:
        record = records.get(key)
        name = f"{key.asset_key.to_user_string()}: {key.name}"
        if record is None:
            yield name, "never ran"
        elif record.status.value == "PLANNED":
            yield name, "running" if record.run_id == context.run.run_id else "did not finish"
        elif record.status.value == "SUCCEEDED":
            yield name, "passed"
        else:
            is_error = record.evaluation is None or record.evaluation.severity == dg.AssetCheckSeverity.ERROR
            yield name, "failed" if is_error else "warned"
