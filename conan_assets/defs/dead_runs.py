"""End the runs whose process was killed: they would stay "started" for ever, hold their pool slots and the run queue.

A run that the UI or a schedule launched is ended by its code server. One that was typed on the command line has
nobody to do it, so ``make demo`` and ``make ui`` begin with ``python -m conan_assets.defs.dead_runs``.
"""

import logging
import os

import dagster as dg
from dagster import DagsterEventType, DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.storage.runs import SqliteRunStorage

from conan_assets.artifacts import is_running

logger = logging.getLogger("conan_assets")


def end_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Report as failed every started run of which no process of this machine is left, free its slots, return its id.

    Runs on a storage that other machines share are left alone: their processes cannot be seen from here.
    """
    if not isinstance(instance.run_storage, SqliteRunStorage):
        return []
    started = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]))
    processes = {run.run_id: _processes(instance, run) for run in started}
    dead = [run for run in started if processes[run.run_id] and not any(map(is_running, processes[run.run_id]))]
    for run in dead:
        instance.report_run_failed(run, "The process of this run was killed. Run it again: what is finished is reused.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        logger.warning("ended run %s, whose process was killed", run.run_id)
    return [run.run_id for run in dead]


def _processes(instance: dg.DagsterInstance, run: DagsterRun) -> set[int]:
    """Return the ids of the processes that logged that they execute the run."""
    events = instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT)
    told = [event.dagster_event.engine_event_data.metadata for event in events if event.dagster_event]
    return {int(str(metadata["pid"].value)) for metadata in told if "pid" in metadata}


def main() -> None:
    """End the dead runs of the instance in ``$DAGSTER_HOME``; without one there is nothing that outlives a run."""
    if os.environ.get("DAGSTER_HOME"):
        with dg.DagsterInstance.get() as instance:
            end_dead_runs(instance)


if __name__ == "__main__":
    main()
