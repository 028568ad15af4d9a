"""What the release asks of the checks on the best round, on a graph of three assets."""

from collections.abc import Callable

import dagster as dg
import pytest

from conan_assets.defs.limits import retried
from conan_assets.defs.release_gate import require_passed_checks

CHECKPOINT = dg.AssetKey(["round_1", "checkpoint"])
KEYS = [dg.AssetCheckKey(CHECKPOINT, "loss"), dg.AssetCheckKey(CHECKPOINT, "spread")]


@dg.asset(key=CHECKPOINT)
def checkpoint() -> None: ...


@dg.asset(deps=[checkpoint])
def leaderboard() -> None: ...


@dg.asset(deps=[leaderboard])
@retried
def release(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    return dg.MaterializeResult(metadata={"checks": require_passed_checks(context, "round_1", KEYS)})


def check(name: str, body: Callable[[], dg.AssetCheckResult], **options: object) -> dg.AssetChecksDefinition:
    return dg.asset_check(asset=CHECKPOINT, name=name, **options)(body)


def passed() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


def failed() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False)


def warned() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN)


def run(
    instance: dg.DagsterInstance, *checks: dg.AssetChecksDefinition, selection: str = "*", others: tuple = ()
) -> dg.ExecuteInProcessResult:
    definitions = dg.Definitions([checkpoint, leaderboard, release, *others], asset_checks=list(checks))
    keys = dg.AssetSelection.from_string(selection).resolve(definitions.resolve_asset_graph())
    job = definitions.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(instance=instance, asset_selection=list(keys), raise_on_error=False)


def verdicts(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    (event,) = [each for each in result.get_asset_materialization_events() if each.asset_key == release.key]
    rows = event.materialization.metadata["checks"].value
    return {row["check"]: row["verdict"] for row in rows}


def why_it_failed(result: dg.ExecuteInProcessResult) -> str:
    assert not result.success
    return str(result.failure_data_for_node("release").error.cause)


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as each:
        yield each


def test_a_round_is_released_when_its_checks_have_passed_and_warnings_do_not_count(instance):
    result = run(instance, check("loss", warned), check("spread", passed))
    assert verdicts(result) == {"round_1/checkpoint: loss": "warned", "round_1/checkpoint: spread": "passed"}


def test_a_failed_check_refuses_the_release_and_is_named(instance):
    result = run(instance, check("loss", passed), check("spread", failed))
    message = "round_1 is the best round but is not released: round_1/checkpoint: spread failed"
    assert message in why_it_failed(result)


def test_a_check_that_failed_in_an_earlier_run_refuses_a_later_release(instance):
    checks = (check("loss", failed), check("spread", passed))
    run(instance, *checks)
    assert "loss failed" in why_it_failed(run(instance, *checks, selection="release"))


def test_a_check_that_broke_off_has_not_passed(instance):
    def broken() -> dg.AssetCheckResult:
        raise OSError("the disk is full")

    checks = (check("loss", broken), check("spread", passed))
    run(instance, *checks, selection='key:"round_1/checkpoint"')
    assert "loss did not finish" in why_it_failed(run(instance, *checks, selection="release"))


def test_checks_that_never_ran_on_this_instance_are_said_to_be_unknown(instance):
    result = run(instance, check("loss", passed), check("spread", passed), selection="release")
    assert set(verdicts(result).values()) == {"never ran"}


def queue(instance: dg.DagsterInstance, *checks: dg.AssetChecksDefinition) -> None:
    """Create a run of everything, which plans its checks, and do not execute it."""
    definitions = dg.Definitions([checkpoint, leaderboard, release], asset_checks=list(checks))
    instance.create_run_for_job(definitions.resolve_implicit_global_asset_job_def())


def test_a_run_that_waits_in_the_queue_changes_no_verdict(instance):
    def queue_another() -> dg.AssetCheckResult:
        queue(instance, *checks)
        return passed()

    checks = (check("loss", passed), check("spread", queue_another))
    assert set(verdicts(run(instance, *checks)).values()) == {"passed"}
    assert set(verdicts(run(instance, *checks, selection="release")).values()) == {"passed"}


def test_a_failed_verdict_counts_though_another_run_waits_in_the_queue(instance):
    checks = (check("loss", passed), check("spread", failed))
    run(instance, *checks)
    queue(instance, *checks)
    assert "spread failed" in why_it_failed(run(instance, *checks, selection="release"))


def test_a_check_that_was_planned_and_never_begun_never_ran(instance):
    checks = (check("loss", passed), check("spread", passed))
    queue(instance, *checks)
    assert set(verdicts(run(instance, *checks, selection="release")).values()) == {"never ran"}


def test_the_release_waits_for_a_check_of_its_own_run(instance, monkeypatch):
    monkeypatch.setattr("conan_assets.defs.release_gate.SECONDS_TO_WAIT", 0)
    chain: list[dg.AssetsDefinition] = []
    for number in range(6):

        @dg.asset(name=f"slow_{number}", deps=[chain[-1]] if chain else [])
        def slow() -> None: ...

        chain.append(slow)
    late = check("spread", failed, additional_deps=[chain[-1]])
    result = run(instance, check("loss", passed), late, others=tuple(chain))
    assert "spread failed" in why_it_failed(result)
