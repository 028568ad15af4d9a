"""A server on the loopback that speaks the part of the Hub's protocol by which a folder is pushed."""

import base64
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub(ThreadingHTTPServer):
    """Repositories in memory: what was created, which files they hold, every commit, and every token seen."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.created: dict[str, bool] = {}
        self.files: dict[str, bytes] = {}
        self.large: dict[str, bytes] = {}
        self.commits: list[str] = []
        self.tokens: set[str] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextlib.contextmanager
def running_hub() -> Iterator[Hub]:
    """Yield a running server."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, daemon=True)
        thread.start()
        yield hub
        hub.shutdown()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if "/revision/" in self.path or self.path == "/api/models/org/model":
            files = [{"rfilename": name} for name in self.server.files]
            return self._answer({"id": "org/model", "sha": "0" * 40, "siblings": files})
        if "/tree/" in self.path:
            rows = [_entry(name, content) for name, content in self.server.files.items()]
            return self._answer(rows)
        return self._answer({"error": f"GET {self.path}"}, 404)

    def do_PUT(self) -> None:
        self.server.large[self.path.removeprefix("/large/")] = self._body()
        self._answer({})

    def do_POST(self) -> None:
        if token := self.headers.get("Authorization"):
            self.server.tokens.add(token)
        if self.headers.get("Authorization") != "Bearer hf_good":
            return self._answer({"error": "Invalid username or password."}, 401)
        body = self._body()
        if self.path == "/api/repos/create":
            return self._create(json.loads(body))
        if self.path == "/api/validate-yaml":
            return self._answer({"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            return self._answer({"files": [_upload_mode(file) for file in json.loads(body)["files"]]})
        if self.path.endswith("/info/lfs/objects/batch"):
            return self._offer(json.loads(body))
        if "/commit/" in self.path:
            return self._commit([json.loads(line) for line in body.splitlines()])
        return self._answer({"error": f"POST {self.path}"}, 404)

    def _create(self, asked: dict) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        status = 409 if name in self.server.created else 200
        self.server.created.setdefault(name, asked["visibility"] == "private")
        self._answer({"url": f"{self.server.url}/{name}", "id": name}, status)

    def _offer(self, asked: dict) -> None:
        objects = [
            {**file, "actions": {"upload": {"href": f"{self.server.url}/large/{file['oid']}"}}}
            for file in asked["objects"]
        ]
        self._answer({"transfer": "basic", "objects": objects})

    def _commit(self, lines: list[dict]) -> None:
        for line in lines:
            value = line["value"]
            match line["key"]:
                case "header":
                    self.server.commits.append(value["summary"])
                case "file":
                    self.server.files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    self.server.files[value["path"]] = self.server.large[value["oid"]]
                case "deletedFile":
                    del self.server.files[value["path"]]
        oid = f"{len(self.server.commits):040d}"
        self._answer({"commitUrl": f"{self.server.url}/org/model/commit/{oid}", "commitOid": oid})

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, content: object, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _entry(name: str, content: bytes) -> dict:
    blob = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
    return {"type": "file", "path": name, "size": len(content), "oid": blob}


def _upload_mode(file: dict) -> dict:
    large = file["path"].endswith(".safetensors")
    return {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": None}
