"""Which release is in use: one that was refused stays refused, and one that was withdrawn stays withdrawn."""

import os
import shutil
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from conan_assets.artifacts import ArtifactStore
from conan_assets.settings import Settings
from conan_assets_tests.defs.conftest import metadata, programme, run, write_beir_folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> Settings:
    folder = tmp_path_factory.mktemp("released")
    write_beir_folder(folder / "animals")
    settings = programme(folder / "animals", tiny_model, folder / "home", rounds=1)
    assert run(settings).success
    return settings


@pytest.fixture
def settings(finished: Settings, tmp_path: Path) -> Settings:
    shutil.copytree(finished.home, tmp_path / "home", symlinks=True)
    return finished.model_copy(update={"home": tmp_path / "home"})


def in_use(settings: Settings) -> str:
    return (settings.home / "released_model").resolve().name


def named(settings: Settings, name: str) -> Settings:
    """Return a programme that makes another release of the same checkpoints."""
    return settings.model_copy(update={"name": name})


def withdraw(settings: Settings, earlier: str) -> None:
    """Do what docs/operations.md says."""
    link = settings.home / "released_model"
    link.unlink()
    link.symlink_to(f"releases/{earlier}")


def test_a_release_that_a_check_of_the_leaderboard_refused_is_refused_again_when_it_is_asked_for_alone(
    settings: Settings,
):
    earlier = in_use(settings)
    for path in (settings.home / "assets" / "released_model" / earlier / "scores").glob("*.parquet"):
        pl.read_parquet(path).with_columns(ndcg_at_10=pl.lit(1.0)).write_parquet(path)
    other = named(settings, "worse")
    with dg.instance_for_test() as instance:
        assert not run(other, raise_on_error=False, instance=instance).success
        refused = run(other, "released_model", raise_on_error=False, instance=instance)
    message = refused.failure_data_for_node("released_model").error.to_string()
    assert "leaderboard: no_regression_since_the_last_release failed" in message
    assert in_use(settings) == earlier


def test_a_check_of_a_table_that_failed_refuses_the_release(settings: Settings):
    with dg.instance_for_test() as instance:
        fail = dg.AssetCheckEvaluation(dg.AssetKey("training_pairs"), "no_evaluation_query", passed=False, metadata={})
        instance.report_runless_asset_event(fail)
        refused = run(named(settings, "leaking"), "released_model", raise_on_error=False, instance=instance)
    message = refused.failure_data_for_node("released_model").error.to_string()
    assert "training_pairs: no_evaluation_query failed" in message


def test_the_next_run_leaves_a_withdrawn_release_withdrawn_and_a_new_one_is_compared_with_what_is_in_use(
    settings: Settings,
):
    first = in_use(settings)
    run(named(settings, "second"))
    second = in_use(settings)
    assert second != first
    withdraw(settings, first)
    result = run(named(settings, "second"))
    assert in_use(settings) == first
    assert metadata(result)["released_model"]["reused"].value
    third = run(named(settings, "third"))
    (compared,) = [
        check.metadata["compared"].value
        for check in third.get_asset_check_evaluations()
        if check.check_name == "no_regression_since_the_last_release"
    ]
    assert f"against the release {first}" in compared
    assert in_use(settings) not in (first, second)


def test_a_release_that_a_killed_run_did_not_publish_is_published_by_the_next(settings: Settings):
    first = in_use(settings)
    run(named(settings, "second"))
    second = in_use(settings)
    withdraw(settings, first)
    (settings.home / "releases" / "last_published").write_text(first)
    run(named(settings, "second"))
    assert in_use(settings) == second


def test_a_release_whose_artifact_is_gone_is_compared_by_scoring_it_again(settings: Settings):
    shutil.rmtree(settings.home / "assets" / "released_model")
    result = run(named(settings, "second"))
    (compared,) = [
        check.metadata["compared"].value
        for check in result.get_asset_check_evaluations()
        if check.check_name == "no_regression_since_the_last_release"
    ]
    assert "scored again" in compared


def test_without_a_release_in_use_nothing_is_compared_and_the_best_round_is_released(settings: Settings):
    current = ArtifactStore(settings.home / "assets").current("released_model").fingerprint
    os.unlink(settings.home / "released_model")
    assert run(settings).success
    assert in_use(settings) == current
