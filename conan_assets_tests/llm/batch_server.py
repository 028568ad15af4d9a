"""The tests' server with a Batch API: files go up, a batch runs until it is told to end, results come down."""

import json
import threading
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler
from typing import Any

from conan_assets_tests.llm.server import ChatServer, Script, completion


class BatchServer(ChatServer):
    """Answer every line of a batch by ``script``; a reply that is dropped has no result, as after expiry.

    ``running`` holds batches back for as long as it is set. ``lose_created`` drops the connection after creating
    that many batches; ``lost_uploads`` and ``failing_polls`` answer 500 that often. ``status`` is how batches end.
    """

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.running = threading.Event()
        self.lose_created = self.lost_uploads = 0
        self.failing_polls = 0
        self.status = "completed"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        with self.lock:
            self.keys.append(handler.headers["Authorization"])
        data = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        match handler.command, *handler.path.partition("?")[0].split("/")[2:]:
            case "POST", "files" if self.lost_uploads:
                self.lost_uploads -= 1
                self._json(handler, {"error": {"message": "no space"}}, 500)
            case "POST", "files":
                self._json(handler, {"id": self._upload(handler, data), "object": "file"})
            case "POST", "batches":
                batch = self._create(json.loads(data))
                if self.lose_created:
                    self.lose_created -= 1
                    handler.connection.close()
                else:
                    self._json(handler, batch)
            case "GET", "batches":
                self._json(handler, {"object": "list", "data": list(self.batches.values()), "has_more": False})
            case "GET", "batches", name:
                self._look(handler, name)
            case "GET", "files", name, "content":
                self._bytes(handler, 200, self.files[name])
            case _:
                self._json(handler, {"error": {"message": f"nothing at {handler.path}"}}, 404)

    def _upload(self, handler: BaseHTTPRequestHandler, data: bytes) -> str:
        form = message_from_bytes(f"Content-Type: {handler.headers['Content-Type']}\r\n\r\n".encode() + data)
        parts = {part.get_param("name", header="Content-Disposition"): part for part in form.get_payload()}
        assert parts["purpose"].get_payload() == "batch"
        return self._store(parts["file"].get_payload(decode=True))

    def _store(self, data: bytes) -> str:
        with self.lock:
            name = f"file-{len(self.files) + 1}"
            self.files[name] = data
        return name

    def _create(self, request: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            name = f"batch-{len(self.batches) + 1}"
            self.batches[name] = request | {
                "id": name,
                "object": "batch",
                "created_at": 0,
                "status": "in_progress",
                "request_counts": {"total": 0, "completed": 0, "failed": 0},
            }
        return self.batches[name]

    def _look(self, handler: BaseHTTPRequestHandler, name: str) -> None:
        if name not in self.batches:
            self._json(handler, {"error": {"message": f"no batch {name}"}}, 404)
        elif self.failing_polls:
            self.failing_polls -= 1
            self._json(handler, {"error": {"message": "busy"}}, 500)
        else:
            batch = self.batches[name]
            if batch["status"] == "in_progress" and not self.running.is_set():
                batch |= self._ended(batch)
            self._json(handler, batch)

    def _ended(self, batch: dict[str, Any]) -> dict[str, Any]:
        if self.status == "failed":
            return {"status": "failed", "errors": {"data": [{"message": "the model 'tiny' has no batches"}]}}
        results, errors = [], []
        for line in self.files[batch["input_file_id"]].splitlines():
            request = json.loads(line)
            assert (request["method"], request["url"]) == ("POST", "/v1/chat/completions")
            self.requests.append(request["body"])
            reply = self.script(len(self.requests), request["body"])
            result = {"custom_id": request["custom_id"], "error": None}
            if reply.drop:
                errors.append(result | {"response": None, "error": {"code": "batch_expired", "message": "too late"}})
            elif reply.status != 200:
                body = {"error": {"message": f"failed as told; {self.keys[-1]}"} | reply.error}
                errors.append(result | {"response": {"status_code": reply.status, "body": body}})
            else:
                body = completion(reply, request["body"]["model"])
                results.append(result | {"response": {"status_code": 200, "body": body}})
        return {
            "status": self.status,
            "output_file_id": self._store(_lines(results)) if results else None,
            "error_file_id": self._store(_lines(errors)) if errors else None,
        }

    def _json(self, handler: BaseHTTPRequestHandler, value: dict[str, Any], status: int = 200) -> None:
        self._bytes(handler, status, json.dumps(value).encode())

    def _bytes(self, handler: BaseHTTPRequestHandler, status: int, data: bytes) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)


def _lines(results: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(result, ensure_ascii=False).encode() + b"\n" for result in reversed(results))
