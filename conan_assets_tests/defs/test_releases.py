"""Which release is in use: one that was refused stays refused, and one that was withdrawn stays withdrawn."""

import os
import re
import shutil

import dagster as dg
import polars as pl
import pytest
from mlflow import MlflowClient

from conan_assets.artifacts import ArtifactStore
from conan_assets.evaluation.settings import ReleaseSettings
from conan_assets.settings import Settings
from conan_assets_tests.defs.conftest import change_report, changing, metadata, run

pytestmark = pytest.mark.slow


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
    copied: Settings,
):
    earlier = in_use(copied)
    with changing(copied, "released_model") as folder:
        for path in (folder / "scores").glob("*.parquet"):
            pl.read_parquet(path).with_columns(ndcg_at_10=pl.lit(1.0)).write_parquet(path)
    other = named(copied, "worse")
    with dg.DagsterInstance.ephemeral() as instance:
        assert not run(other, raise_on_error=False, instance=instance).success
        refused = run(other, "released_model", raise_on_error=False, instance=instance)
    message = refused.failure_data_for_node("released_model").error.to_string()
    assert "leaderboard: no_regression_since_the_last_release failed" in message
    assert in_use(copied) == earlier


def test_a_check_of_a_table_that_failed_refuses_the_release(copied: Settings):
    with dg.DagsterInstance.ephemeral() as instance:
        fail = dg.AssetCheckEvaluation(dg.AssetKey("training_pairs"), "no_evaluation_query", passed=False, metadata={})
        instance.report_runless_asset_event(fail)
        refused = run(named(copied, "leaking"), "released_model", raise_on_error=False, instance=instance)
    message = refused.failure_data_for_node("released_model").error.to_string()
    assert "training_pairs: no_evaluation_query failed" in message


def lower_all_scores(settings: Settings, key: str) -> None:
    rows = ArtifactStore(settings.home / "assets").current(key).report["rows"]
    change_report(settings, key, rows=[{**row, "value": 0.01} for row in rows])
    with changing(settings, key) as folder:
        queries = pl.read_parquet(folder / "per_query.parquet").with_columns(ndcg_at_10=pl.lit(0.01))
        queries.write_parquet(folder / "per_query.parquet")


def test_a_release_that_is_the_base_model_says_so_everywhere(copied: Settings):
    lower_all_scores(copied, "round_1/beir_report")
    os.unlink(copied.home / "released_model")
    by_test = copied.dev_metric.model_copy(update={"split": "test"})
    pages = metadata(run(copied.model_copy(update={"dev_metric": by_test}), raise_on_error=True))
    told = "No round was better than the base model: the base model is released as it is."
    for name in ("leaderboard.md", "leaderboard.html", "outcome.md", "released_model/README.md"):
        text = (copied.home / name).read_text()
        assert told in text
        assert "What to try" in text
        assert re.search(r"Round 1, the best of the rounds, against it: .*test -\d", text)
    for key in ("leaderboard", "released_model"):
        assert told in pages[key]["outcome"].value
        assert pages[key]["test_gain_over_base_model"].value == 0
    card = (copied.home / "released_model" / "README.md").read_text()
    assert "as it is, none of it trained by Conan Assets" in card
    assert "no query prompt, no document prompt" in card
    assert "``" not in card.replace("```", "")


def test_the_next_run_leaves_a_withdrawn_release_withdrawn_and_a_new_one_is_compared_with_what_is_in_use(
    copied: Settings,
):
    first = in_use(copied)
    run(named(copied, "second"))
    second = in_use(copied)
    assert second != first
    withdraw(copied, first)
    result = run(named(copied, "second"))
    assert in_use(copied) == first
    assert f"{second} was withdrawn: {first} stays in use" in (copied.home / "outcome.md").read_text()
    assert metadata(result)["released_model"]["reused"].value
    third = run(named(copied, "third"))
    (compared,) = [
        check.metadata["compared"].value
        for check in third.get_asset_check_evaluations()
        if check.check_name == "no_regression_since_the_last_release"
    ]
    assert f"against the release {first}" in compared
    assert in_use(copied) not in (first, second)


def test_a_release_that_a_killed_run_did_not_publish_is_published_by_the_next(copied: Settings):
    first = in_use(copied)
    run(named(copied, "second"))
    second = in_use(copied)
    withdraw(copied, first)
    (copied.home / "releases" / "last_published").write_text(first)
    run(named(copied, "second"))
    assert in_use(copied) == second


def test_a_release_whose_artifact_is_gone_is_compared_by_scoring_it_again(copied: Settings):
    shutil.rmtree(copied.home / "assets" / "released_model")
    result = run(named(copied, "second"))
    (compared,) = [
        check.metadata["compared"].value
        for check in result.get_asset_check_evaluations()
        if check.check_name == "no_regression_since_the_last_release"
    ]
    assert "scored again" in compared


def test_without_a_release_in_use_nothing_is_compared_and_the_best_round_is_released(copied: Settings):
    current = ArtifactStore(copied.home / "assets").current("released_model").fingerprint
    os.unlink(copied.home / "released_model")
    assert run(copied).success
    assert in_use(copied) == current


def test_a_release_is_a_version_in_mlflow_where_the_settings_say_so(copied: Settings, tmp_path, monkeypatch):
    registered = copied.model_copy(update={"release": ReleaseSettings(register_as="animals")})
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    refused = run(registered, "released_model", raise_on_error=False)
    assert "$MLFLOW_TRACKING_URI is not set" in refused.failure_data_for_node("released_model").error.to_string()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        values = metadata(run(registered, "released_model"))["released_model"]
        assert values["registered_as"].value == "models:/animals/1"
    client = MlflowClient()
    version = client.get_model_version("animals", "1")
    assert version.tags == {"release": in_use(copied)}
    assert version.description == values["model_card"].value[:5000].strip()
    scores = client.get_run(version.run_id).data.metrics
    assert scores["dev_ndcg_at_10"] == values["dev_ndcg_at_10"].value
