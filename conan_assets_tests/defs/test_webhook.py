"""What hears of a failed run: the sensor that posts to a webhook."""

import json
import threading
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import dagster as dg
import pytest

from conan_assets.defs import automation
from conan_assets.defs.automation import WEBHOOK_VARIABLE, failed_runs

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automation, "SECONDS_BETWEEN_ATTEMPTS", 0)


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict]]]:
    """A loopback server's address, and the messages it was posted.

    It answers ``/broken`` with an error, and ``/down`` too until it has been asked twice.
    """
    messages: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            messages.append(json.loads(body))
            fails = self.path == "/broken" or (self.path == "/down" and len(messages) < 3)
            self.send_response(503 if fails else 204)
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


def test_a_webhook_that_is_down_for_a_moment_gets_the_message(webhook, failed, monkeypatch: pytest.MonkeyPatch):
    address, messages = webhook
    monkeypatch.setenv(WEBHOOK_VARIABLE, f"{address}/down")
    failed_runs(failed[1])
    assert len(messages) == 3
    assert messages[0] == messages[1] == messages[2]


def test_a_webhook_that_stays_broken_is_given_up_after_three_attempts(webhook, failed, monkeypatch: pytest.MonkeyPatch):
    address, messages = webhook
    monkeypatch.setenv(WEBHOOK_VARIABLE, f"{address}/broken")
    with pytest.raises(Exception, match="did not take the message"):
        failed_runs(failed[1])
    assert len(messages) == 3


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
