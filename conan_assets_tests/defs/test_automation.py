"""When the graph runs by itself: the schedule, the sensor of sources, what follows a checkpoint, what is stale."""

import json
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from conan_assets.artifacts import ArtifactStore
from conan_assets.data import digests
from conan_assets.definitions import build_defs
from conan_assets.defs.automation import RELEASE_KEY, build_schedule, build_source_sensor
from conan_assets.defs.lineage import lineage_of
from conan_assets.defs.storage import Storage
from conan_assets.integrity import seal, unseal
from conan_assets.settings import Settings, load_settings
from conan_assets_tests.defs.conftest import metadata, run

RAW_TABLES = 'key:"raw_corpus" or key:"raw_pairs"'


@pytest.fixture
def read(miniature: Settings) -> Settings:
    """A programme whose sources were read."""
    run(miniature, RAW_TABLES)
    return miniature


def release(settings: Settings) -> None:
    """Leave rounds and a release that say that they were made from the raw tables as they are."""
    store = ArtifactStore(settings.home / "assets")
    rounds = [f"round_{number}/checkpoint" for number in range(1, settings.rounds + 1)]
    tables = table_versions(settings)
    for key in (*rounds, "released_model"):
        made_from = dict.fromkeys(rounds, "made") if key == "released_model" else tables
        with store.building(key, "made"):
            store.finish(key, "made", {}, made_from=made_from)


def change_source(settings: Settings) -> None:
    path = Path(settings.sources["animals"].path) / "corpus.jsonl"
    number = len(path.read_text().splitlines())
    with path.open("a") as file:
        file.write(json.dumps({"_id": f"new{number}", "title": "a yak", "text": "The yak came down."}) + "\n")


def table_versions(settings: Settings) -> dict[str, str]:
    store = ArtifactStore(settings.home / "assets")
    return {name: store.current(name).content for name in ("raw_corpus", "raw_pairs")}


def weekly(settings: Settings) -> dg.RunRequest | dg.SkipReason:
    context = dg.build_schedule_context(resources={"storage": Storage(home=str(settings.home))})
    return build_schedule(settings)(context)


def sensed(settings: Settings, context: dg.SensorEvaluationContext | None = None) -> dg.RunRequest | dg.SkipReason:
    context = context or dg.build_sensor_context(resources={"storage": Storage(home=str(settings.home))})
    return build_source_sensor(settings)(context)


def test_the_schedule_skips_with_a_reason_when_no_source_changed_since_the_release(read: Settings):
    release(read)
    skipped = weekly(read)
    assert isinstance(skipped, dg.SkipReason)
    assert skipped.skip_message == "no source has changed since the released model was made"


def test_the_schedule_trains_when_a_source_changed_and_says_which(read: Settings):
    release(read)
    change_source(read)
    assert weekly(read).tags["conan/changed_sources"] == "animals"


def test_the_schedule_trains_when_nothing_was_ever_read(miniature: Settings):
    assert weekly(miniature).tags["conan/changed_sources"] == "animals"


@pytest.mark.slow
def test_the_schedule_goes_on_with_a_run_that_read_the_sources_and_never_reached_a_release(read: Settings):
    assert weekly(read).tags["conan/unfinished"] == "true"
    release(read)
    change_source(read)
    run(read, RAW_TABLES)
    assert weekly(read).tags["conan/unfinished"] == "true"


@pytest.mark.slow
def test_a_release_that_is_materialized_alone_after_a_failed_training_leaves_the_new_data_to_the_schedule(
    miniature: Settings,
):
    settings = miniature.model_copy(update={"rounds": 1})
    run(settings)
    assert isinstance(weekly(settings), dg.SkipReason)
    change_source(settings)
    run(settings, RAW_TABLES)
    again = run(settings, 'key:"released_model"')
    assert metadata(again)["released_model"]["reused"].value
    assert weekly(settings).tags["conan/unfinished"] == "true"
    today = table_versions(settings)
    run(settings, 'key:"round_0/beir_report" or key:"round_1/beir_report" or key:"leaderboard" or key:"released_model"')
    assert weekly(settings).tags["conan/unfinished"] == "true"
    lineage = lineage_of(settings, Storage(home=str(settings.home)), "round_1")
    assert lineage["raw_corpus"] != today["raw_corpus"], "the checkpoint was trained on the corpus before"


@pytest.mark.slow
def test_tables_that_were_read_again_and_came_out_the_same_are_released(read: Settings):
    release(read)
    run(read, RAW_TABLES)
    assert isinstance(weekly(read), dg.SkipReason)


@pytest.mark.slow
def test_a_corpus_that_was_read_again_without_its_pairs_counts_as_changed(read: Settings):
    change_source(read)
    run(read, 'key:"raw_corpus"')
    assert weekly(read).tags["conan/changed_sources"] == "animals"


def test_the_sensor_asks_once_for_every_state_of_the_sources(read: Settings):
    assert "animals" in sensed(read).skip_message
    change_source(read)
    context = dg.build_sensor_context(resources={"storage": Storage(home=str(read.home))})
    first, again = sensed(read, context), sensed(read)
    assert first.run_key == again.run_key
    assert set(json.loads(context.cursor)) == {"animals"}
    change_source(read)
    assert sensed(read).run_key != first.run_key


@pytest.mark.slow
def test_the_sensor_asks_again_for_a_state_that_the_sources_return_to(read: Settings):
    path = Path(read.sources["animals"].path) / "corpus.jsonl"
    original, keys = path.read_text(), []
    for _ in range(2):
        change_source(read)
        keys.append(sensed(read).run_key)
        run(read, RAW_TABLES)
        path.write_text(original)
        keys.append(sensed(read).run_key)
        run(read, RAW_TABLES)
    assert len(set(keys)) == 4


@pytest.mark.slow
def test_the_sensor_does_not_ask_again_after_a_run_that_read_half_of_the_sources(read: Settings):
    change_source(read)
    first = sensed(read)
    run(read, 'key:"raw_corpus"')
    assert sensed(read).run_key == first.run_key


def test_a_tick_takes_the_digest_of_a_file_that_stayed_as_it_is_from_the_last_reading(
    miniature: Settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(digests, "SECONDS_TO_SETTLE", 0)
    run(miniature, RAW_TABLES)
    assert isinstance(sensed(miniature), dg.SkipReason)
    file = miniature.home / "source_digests.json"
    remembered = unseal(file)
    assert {Path(path).name for path in remembered} == {
        *("corpus.jsonl", "queries.jsonl", "train.tsv", "dev.tsv", "test.tsv"),
    }
    file.write_text(seal({path: [state, "another digest"] for path, (state, _) in remembered.items()}))
    assert sensed(miniature).tags["conan/changed_sources"] == "animals", "what is remembered is believed"
    assert weekly(miniature).tags["conan/changed_sources"] == "animals"
    file.unlink()
    assert isinstance(sensed(miniature), dg.SkipReason)


def test_a_new_commit_on_the_hub_is_a_change(miniature: Settings, monkeypatch: pytest.MonkeyPatch):
    commits = iter(["a" * 40, "b" * 40])
    monkeypatch.setattr("conan_assets.data.hub._commit", lambda *_: next(commits))
    hub = Settings.model_validate(
        {**miniature.model_dump(), "sources": {"animals": {"kind": "hub", "path": "owner/animals", "revision": "main"}}}
    )
    assert sensed(hub).run_key != sensed(hub).run_key


def test_schedule_and_sensors_are_in_the_ui_run_everything_and_wait_to_be_started(miniature: Settings):
    definitions = build_defs(miniature)
    schedule = definitions.resolve_schedule_def("weekly_training")
    assert schedule.job_name == "train_job"
    assert schedule.cron_schedule == "0 3 * * 0"
    sensors = [definitions.resolve_sensor_def(name) for name in ("changed_sources", "failed_runs")]
    assert sensors[0].job_name == "train_job"
    assert {schedule.default_status.value, *(sensor.default_status.value for sensor in sensors)} == {"STOPPED"}
    job = definitions.resolve_job_def("train_job")
    graph = definitions.resolve_asset_graph()
    assert job.asset_layer.executable_asset_keys == graph.get_all_asset_keys()
    assert job.asset_layer.asset_graph.asset_check_keys == graph.asset_check_keys


def test_reports_and_leaderboard_follow_a_checkpoint_that_is_made_by_hand(miniature: Settings):
    definitions = build_defs(miniature)
    with dg.DagsterInstance.ephemeral() as instance:
        for key in definitions.resolve_asset_graph().get_all_asset_keys():
            instance.report_runless_asset_event(dg.AssetMaterialization(key))
        evaluated = dg.evaluate_automation_conditions(definitions, instance)
        assert evaluated.total_requested == 0
        checkpoint = dg.AssetKey(["round_2", "checkpoint"])
        instance.report_runless_asset_event(dg.AssetMaterialization(checkpoint))
        evaluated = dg.evaluate_automation_conditions(definitions, instance, cursor=evaluated.cursor)
    assert evaluated.get_num_requested(dg.AssetKey(["round_2", "beir_report"])) == 1
    assert evaluated.get_num_requested(dg.AssetKey("leaderboard")) == 1
    assert evaluated.get_num_requested(dg.AssetKey(["round_1", "beir_report"])) == 0
    assert evaluated.get_num_requested(RELEASE_KEY) == 0, "a release is asked for, by a person or the schedule"


@pytest.mark.parametrize("table", ["raw_corpus", "raw_pairs"])
def test_nothing_follows_a_raw_table_that_is_made_by_hand(table: str, miniature: Settings):
    definitions = build_defs(miniature)
    with dg.DagsterInstance.ephemeral() as instance:
        for key in definitions.resolve_asset_graph().get_all_asset_keys():
            instance.report_runless_asset_event(dg.AssetMaterialization(key))
        evaluated = dg.evaluate_automation_conditions(definitions, instance)
        instance.report_runless_asset_event(dg.AssetMaterialization(table))
        evaluated = dg.evaluate_automation_conditions(definitions, instance, cursor=evaluated.cursor)
    assert evaluated.total_requested == 0


def test_a_release_is_stale_after_a_month():
    spec = build_defs(load_settings("demo", {})).resolve_asset_graph().get(RELEASE_KEY).freshness_policy
    assert spec is not None
    assert spec.warn_window.to_timedelta() == timedelta(days=15)
    assert spec.fail_window.to_timedelta() == timedelta(days=35)
