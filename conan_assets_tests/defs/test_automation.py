"""When the graph runs by itself: the schedule, the sensors, the webhook, what follows a checkpoint, what is stale."""

import json
import threading
import traceback
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import dagster as dg
import pytest

from conan_assets.artifacts import ArtifactStore
from conan_assets.definitions import build_defs
from conan_assets.defs.automation import RELEASE_KEY, WEBHOOK_VARIABLE, build_schedule, build_source_sensor, failed_runs
from conan_assets.defs.storage import Storage
from conan_assets.settings import Settings, load_settings
from conan_assets_tests.defs.conftest import run


@pytest.fixture
def read(miniature: Settings) -> Settings:
    """A programme whose sources were read."""
    run(miniature, 'key:"raw_corpus" or key:"raw_pairs"')
    return miniature


def release(settings: Settings) -> None:
    store = ArtifactStore(settings.home / "assets")
    with store.building("released_model", "made"):
        store.finish("released_model", "made", {})


def change_source(settings: Settings) -> None:
    path = Path(settings.sources["animals"].path) / "corpus.jsonl"
    number = len(path.read_text().splitlines())
    with path.open("a") as file:
        file.write(json.dumps({"_id": f"new{number}", "title": "a yak", "text": "The yak came down."}) + "\n")


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


def test_the_schedule_goes_on_with_a_run_that_read_the_sources_and_never_reached_a_release(read: Settings):
    assert weekly(read).tags["conan/unfinished"] == "true"
    release(read)
    change_source(read)
    run(read, 'key:"raw_corpus" or key:"raw_pairs"')
    assert weekly(read).tags["conan/unfinished"] == "true"


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


def test_the_sensor_asks_again_for_a_state_that_the_sources_return_to(read: Settings):
    path = Path(read.sources["animals"].path) / "corpus.jsonl"
    original, keys = path.read_text(), []
    for _ in range(2):
        change_source(read)
        keys.append(sensed(read).run_key)
        run(read, 'key:"raw_corpus" or key:"raw_pairs"')
        path.write_text(original)
        keys.append(sensed(read).run_key)
        run(read, 'key:"raw_corpus" or key:"raw_pairs"')
    assert len(set(keys)) == 4


def test_the_sensor_does_not_ask_again_after_a_run_that_read_half_of_the_sources(read: Settings):
    change_source(read)
    first = sensed(read)
    run(read, 'key:"raw_corpus"')
    assert sensed(read).run_key == first.run_key


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


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict]]]:
    """A loopback server's address, and the messages it was posted."""
    messages: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            messages.append(json.loads(body))
            self.send_response(500 if self.path.endswith("broken") else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", messages
    server.shutdown()
    server.server_close()


@pytest.fixture
def failed() -> Iterator[tuple[dg.DagsterInstance, dg.RunFailureSensorContext]]:
    @dg.op
    def training() -> None:
        raise ValueError("the loss is not finite")

    @dg.job(tags={"conan/changed_sources": "animals", "other": "secret"})
    def train_job() -> None:
        training()

    with dg.instance_for_test() as instance:
        result = train_job.execute_in_process(instance=instance, raise_on_error=False)
        context = dg.build_run_status_sensor_context(
            "failed_runs", result.get_run_failure_event(), instance, result.dagster_run
        )
        yield instance, context.for_run_failure()


def test_a_failed_run_is_posted_to_the_webhook(webhook, failed, monkeypatch: pytest.MonkeyPatch):
    address, messages = webhook
    monkeypatch.setenv(WEBHOOK_VARIABLE, f"{address}/hook")
    failed_runs(failed[1])
    (message,) = messages
    assert message["job"] == "train_job"
    assert message["failed_steps"][0]["step"] == "training"
    assert "the loss is not finite" in message["failed_steps"][0]["error"]
    assert message["tags"] == {"conan/changed_sources": "animals"}
    assert message["text"].startswith("train_job failed")


def test_without_a_webhook_a_failed_run_is_only_logged(webhook, failed, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(WEBHOOK_VARIABLE, raising=False)
    failed_runs(failed[1])
    assert not webhook[1]


@pytest.mark.parametrize("path", ["/broken", None])
def test_a_webhook_that_does_not_answer_is_an_error_that_keeps_its_address(
    path: str | None, webhook, failed, monkeypatch: pytest.MonkeyPatch
):
    url = f"{webhook[0]}{path}" if path else "http://127.0.0.1:1/token-in-the-path"
    monkeypatch.setenv(WEBHOOK_VARIABLE, url)
    with pytest.raises(Exception, match="did not take the message") as caught:
        failed_runs(failed[1])
    told = "".join(traceback.format_exception(caught.value))
    assert f"the webhook in ${WEBHOOK_VARIABLE} did not take the message" in told
    assert "token-in-the-path" not in told


@pytest.mark.parametrize("address", ["htp//token-in-the-path", "http://127.0.0.1:token-in-the-path/hook"])
def test_an_address_that_is_none_is_an_error_that_does_not_quote_it(
    address: str, failed, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(WEBHOOK_VARIABLE, address)
    with pytest.raises(Exception, match="did not take the message") as caught:
        failed_runs(failed[1])
    told = "".join(traceback.format_exception(caught.value))
    assert "did not take the message: ValueError" in told or "did not take the message: InvalidURL" in told
    assert "token-in-the-path" not in told


def test_reports_and_leaderboard_follow_a_checkpoint_that_is_made_by_hand(miniature: Settings):
    definitions = build_defs(miniature)
    with dg.instance_for_test() as instance:
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


def test_a_release_is_stale_after_a_month():
    spec = build_defs(load_settings("demo", {})).resolve_asset_graph().get(RELEASE_KEY).freshness_policy
    assert spec is not None
    assert spec.warn_window.to_timedelta() == timedelta(days=15)
    assert spec.fail_window.to_timedelta() == timedelta(days=35)
