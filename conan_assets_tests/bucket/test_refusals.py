"""What stores answer that refuse a request, as their manuals print it, and what a user is told of it."""

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from conan_assets.bucket import objects
from conan_assets.bucket.errors import BucketError, BucketUnreachableError
from conan_assets.bucket.working_copy import open_home
from conan_assets.failures import is_transient
from conan_assets_tests.bucket.conftest import SECRET, environment

pytestmark = pytest.mark.slow


class Refusing(BaseHTTPRequestHandler):
    """S3's form of an error, whatever is asked."""

    status, code = 403, ""

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = f'<?xml version="1.0"?><Error><Code>{self.code}</Code><Message>m</Message></Error>'.encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_GET = do_HEAD = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def refusing(machine, monkeypatch) -> Iterator[type[Refusing]]:
    handler = type("Handler", (Refusing,), {})
    monkeypatch.setattr(objects, "SECONDS_TO_RETRY", 1)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for name, value in environment(server.server_address[1]).items():
            monkeypatch.setenv(name, value)
        yield handler
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (403, "RequestTimeTooSkewed", "this machine's clock is wrong, and its requests are refused: set the clock"),
        (403, "SignatureDoesNotMatch", "the credentials are wrong or have expired: set AWS_ACCESS_KEY_ID"),
        (400, "ExpiredToken", "the credentials are wrong or have expired"),
        (403, "AccessDenied", "permission is denied"),
        (404, "NoSuchBucket", "the bucket does not exist"),
        (301, "PermanentRedirect", "the bucket lies in another region: set AWS_REGION"),
    ],
)
def test_what_a_store_refuses_is_told_in_words_without_a_second_attempt(refusing, status, code, told):
    refusing.status, refusing.code = status, code
    with pytest.raises(BucketError) as caught:
        open_home("s3://bucket/home")
    assert str(caught.value).startswith(f"s3://bucket/home: {told}")
    assert not is_transient(caught.value)
    assert SECRET not in str(caught.value)


def test_a_store_that_is_out_of_order_may_be_asked_again_later(refusing):
    refusing.status, refusing.code = 503, "SlowDown"
    with pytest.raises(BucketUnreachableError, match="s3://bucket/home cannot be reached") as caught:
        open_home("s3://bucket/home")
    assert is_transient(caught.value)


def test_an_azure_home_without_an_account_is_refused(machine, monkeypatch):
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    with pytest.raises(BucketError, match=r"az://bucket/home: there are no credentials: set .*AZURE_STORAGE_ACCOUNT"):
        open_home("az://bucket/home")
