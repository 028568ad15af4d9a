"""End the runs whose process was killed: they would stay "started" for ever, and the queue would wait for them.

``make demo`` and ``make ui`` begin with ``python -m conan_assets.defs.dead_runs``, which looks for the processes of an
instance of this machine alone; while the UI is open a sensor does. With ``--all`` it asks for no process:
`deploy/compose.yaml` calls it so before the code server, in which every run of that instance executes.
"""

import argparse
import logging
import os
from collections.abc import Sequence

import dagster as dg
import psutil
from dagster import DagsterEventType, DagsterRun, DagsterRunStatus, RunsFilter

from conan_assets.defs.dagster_internals import SqliteRunStorage

SECONDS_CLOCKS_DIFFER = 60
"""How much later than what it logged a process may seem to have begun, after its machine's clock was set."""

SECONDS_BETWEEN_LOOKS = 60

logger = logging.getLogger("conan_assets")


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Report as failed every started run of which no process of this machine is left, free its slots, return its id.

    Runs on a storage that other machines share are left alone: their processes cannot be seen from here.
    """
    if not isinstance(instance.run_storage, SqliteRunStorage):
        return []
    return _end(instance, [run for run in _started_runs(instance) if _is_dead(instance, run)])


def end_all_runs(instance: dg.DagsterInstance) -> list[str]:
    """Report as failed every started run, free its slots, return its id; for where none can be executing any more."""
    return _end(instance, _started_runs(instance))


def _started_runs(instance: dg.DagsterInstance) -> Sequence[DagsterRun]:
    return instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]))


def _end(instance: dg.DagsterInstance, runs: Sequence[DagsterRun]) -> list[str]:
    for run in runs:
        instance.report_run_failed(run, "The process of this run was killed. Run it again: what is finished is reused.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        logger.warning("ended run %s, whose process was killed", run.run_id)
    return [run.run_id for run in runs]


def _is_dead(instance: dg.DagsterInstance, run: DagsterRun) -> bool:
    """Return whether processes logged that they execute the run, and none of them is left."""
    events = instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT)
    told = [
        (event.timestamp, event.dagster_event.engine_event_data.metadata) for event in events if event.dagster_event
    ]
    processes = [(int(str(metadata["pid"].value)), logged_at) for logged_at, metadata in told if "pid" in metadata]
    return bool(processes) and not any(_is_running(pid, logged_at) for pid, logged_at in processes)


def _is_running(pid: int, logged_at: float) -> bool:
    """Return whether the process that logged something at ``logged_at`` is there, not a later one with its number."""
    try:
        began: float = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return False
    return began < logged_at + SECONDS_CLOCKS_DIFFER


@dg.sensor(
    minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="End the runs whose process was killed, before the queue waits for them.",
)
def dead_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Look for dead runs while the UI is open."""
    ended = end_dead_runs(context.instance)
    return dg.SkipReason(f"ended {', '.join(ended)}" if ended else "no run's process was killed")


def main() -> None:
    """End the dead runs of the instance in ``$DAGSTER_HOME``; without one there is nothing that outlives a run."""
    parser = argparse.ArgumentParser(description="End the runs whose process was killed.")
    parser.add_argument("--all", action="store_true", help="end every started run: all that could execute one are gone")
    end = end_all_runs if parser.parse_args().all else end_dead_runs
    if os.environ.get("DAGSTER_HOME"):
        with dg.DagsterInstance.get() as instance:
            end(instance)


if __name__ == "__main__":
    main()
