"""Runs whose process was killed: they are ended, and give back what they held."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster import DagsterEvent, DagsterEventType, DagsterRun, DagsterRunStatus
from dagster._core.events import EngineEventData

from conan_assets.definitions import build_defs
from conan_assets.defs.dead_runs import dead_runs, end_dead_runs
from conan_assets.settings import load_settings

pytestmark = pytest.mark.slow

HELD = """
import dagster as dg, time

@dg.asset(pool="gpu")
def holds_the_gpu():
    print("held", flush=True)
    time.sleep(60)

dg.materialize([holds_the_gpu], instance=dg.DagsterInstance.get())
"""


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """An instance with a pool of one place, which processes find by their environment."""
    (tmp_path / "dagster.yaml").write_text("concurrency: {pools: {default_limit: 1}}\ntelemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.get() as instance:
        yield instance


@pytest.fixture
def held(instance: dg.DagsterInstance) -> Iterator[subprocess.Popen]:
    """The process of a run that holds the pool's place."""
    command = [sys.executable, "-c", HELD]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def places_taken(instance: dg.DagsterInstance) -> int:
    return instance.event_log_storage.get_concurrency_info("gpu").active_slot_count


def test_a_killed_run_gives_its_place_in_the_pool_back(instance: dg.DagsterInstance, held: subprocess.Popen):
    assert end_dead_runs(instance) == [], "it is alive"
    os.kill(held.pid, signal.SIGKILL)
    held.wait()
    assert places_taken(instance) == 1
    (ended,) = end_dead_runs(instance)
    assert places_taken(instance) == 0
    assert instance.get_run_by_id(ended).status == DagsterRunStatus.FAILURE


def test_the_queue_of_an_open_ui_is_freed_by_a_sensor_that_is_on_from_the_start(
    instance: dg.DagsterInstance, held: subprocess.Popen
):
    os.kill(held.pid, signal.SIGKILL)
    held.wait()
    told = dead_runs(dg.build_sensor_context(instance=instance))
    (run,) = instance.get_runs()
    assert told.skip_message == f"ended {run.run_id}"
    assert run.status == DagsterRunStatus.FAILURE
    assert dead_runs.default_status == dg.DefaultSensorStatus.RUNNING
    assert dead_runs in build_defs(load_settings("demo", {})).sensors


def run_executed_by(instance: dg.DagsterInstance, pid: int, logged_at: float) -> DagsterRun:
    """Return a started run of which a process logged, at some time, that it executes the run."""
    run = instance.create_run_for_job(dg.GraphDefinition("nothing").to_job(), status=DagsterRunStatus.STARTED)
    event = DagsterEvent(
        DagsterEventType.ENGINE_EVENT.value, run.job_name, event_specific_data=EngineEventData.in_process(pid)
    )
    instance.report_dagster_event(event, run.run_id, timestamp=logged_at)
    return run


def test_a_process_that_began_after_a_run_and_got_the_number_of_its_process_does_not_keep_it(
    instance: dg.DagsterInstance,
):
    other = psutil.Process()
    alive = run_executed_by(instance, other.pid, logged_at=time.time())
    dead = run_executed_by(instance, other.pid, logged_at=other.create_time() - 3600)
    assert end_dead_runs(instance) == [dead.run_id]
    assert instance.get_run_by_id(alive.run_id).status == DagsterRunStatus.STARTED


@pytest.mark.parametrize("status", [DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING])
def test_the_command_line_ends_every_started_run_where_none_can_be_alive(
    status: DagsterRunStatus, instance: dg.DagsterInstance
):
    job = dg.GraphDefinition("nothing").to_job()
    started = instance.create_run_for_job(job, status=status)
    waiting = instance.create_run_for_job(job, status=DagsterRunStatus.NOT_STARTED)
    command = [sys.executable, "-m", "conan_assets.defs.dead_runs"]
    subprocess.run(command, check=True)
    assert instance.get_run_by_id(started.run_id).status == status, "no process is known of it"
    subprocess.run([*command, "--all"], check=True)
    assert instance.get_run_by_id(started.run_id).status == DagsterRunStatus.FAILURE
    assert instance.get_run_by_id(waiting.run_id).status == DagsterRunStatus.NOT_STARTED
