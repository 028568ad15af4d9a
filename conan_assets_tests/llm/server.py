"""A chat-completions server on the loopback interface that answers, and fails, as a test tells it to."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

KEY = "sk-secret-0123456789"


@dataclass(frozen=True)
class Reply:
    """What the server does with one request."""

    content: str = ""
    finish_reason: str = "stop"
    refusal: str | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    drop: bool = False
    cut_body: bool = False
    body: bytes | None = None
    model: str = ""
    error: dict[str, str] = field(default_factory=dict)


def questions(*texts: str) -> Reply:
    return Reply(json.dumps({"pairs": [{"question": text} for text in texts]}))


def completion(reply: Reply, model: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": reply.content, "refusal": reply.refusal}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": reply.model or model,
        "choices": [{"index": 0, "message": message, "finish_reason": reply.finish_reason}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
    }


Script = Callable[[int, dict[str, Any]], Reply]


class ChatServer:
    """Call ``script(number, body)`` for every request, numbered from 1, and do what it returns."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.in_flight = self.most_in_flight = 0
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self.lock:
            self.requests.append(body)
            self.keys.append(handler.headers["Authorization"])
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
            reply = self.script(len(self.requests), body)
        try:
            time.sleep(reply.delay_seconds)
            self._send(handler, reply, body)
        finally:
            with self.lock:
                self.in_flight -= 1

    def _send(self, handler: BaseHTTPRequestHandler, reply: Reply, body: dict[str, Any]) -> None:
        if reply.drop:
            handler.connection.close()
            return
        answer = completion(reply, body["model"])
        failure = {"error": {"message": f"failed as told; {handler.headers['Authorization']}"} | reply.error}
        data = reply.body or json.dumps(answer if reply.status == 200 else failure).encode()
        handler.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[: len(data) // 2] if reply.cut_body else data)
        if reply.cut_body:
            handler.wfile.flush()
            handler.connection.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the name that http.server calls
                try:
                    server.answer(self)
                except OSError:
                    self.close_connection = True

            def do_GET(self) -> None:
                self.do_POST()

            def log_message(self, *_: object) -> None:
                pass

        return Handler
