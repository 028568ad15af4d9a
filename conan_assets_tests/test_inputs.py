"""What a profile names and is not there is told before anything is read."""

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from conan_assets.settings import load_settings
from conan_assets.settings.inputs import InputError, check_data, check_inputs

PAIRS = "query,positive\nwho purrs,Cats purr.\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of pairs with a train and a dev split."""
    (tmp_path / "train.csv").write_text(PAIRS)
    (tmp_path / "dev.csv").write_text(PAIRS)
    return tmp_path


def profile(folder: Path, model: str, **changes: object) -> str:
    path = folder / "profile.yaml"
    values = {
        "name": "mine",
        "sources": {"cats": {"kind": "pairs", "path": str(folder)}},
        "base_model": {"model": model},
        "rounds": 1,
        "suites": {"beir": {"cats": {"kind": "local", "dataset": "cats", "splits": ["dev"]}}},
        "dev_metric": {"suite": "cats"},
    }
    path.write_text(yaml.safe_dump({**values, **changes}))
    return str(path)


def test_everything_that_is_there_passes(folder: Path, tiny_model: str):
    check_inputs(load_settings(profile(folder, tiny_model), {}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": {"cats": {"kind": "pairs", "path": "/nowhere"}}}, r"source cats: there is no folder /nowhere"),
        ({"sources": {"cats": {"kind": "beir", "path": "/nowhere"}}}, r"source cats: there is no folder /nowhere"),
        (
            {"suites": {"beir": {"cats": {"kind": "local", "dataset": "cats", "splits": ["dev", "test"]}}}},
            r"suite 'cats' scores the split test of source 'cats', which has dev, train: add test",
        ),
        (
            {"sources": {"cats": {"kind": "python_docs", "dev_percent": 0}}},
            r"scores the split dev of source 'cats', which has test, train",
        ),
        (
            {"sources": {"cats": {"kind": "hub_pairs", "path": "owner/name", "tables": {"dev": {"split": "test"}}}}},
            r"source cats: there is no split train; add one, or set sources\.cats\.train to false",
        ),
        (
            {"suites": {"beir": {"cats": {"kind": "folder", "path": "/nowhere", "task": "sts", "splits": ["dev"]}}},
             "dev_metric": {"suite": "cats", "metric": "cosine_spearman"}},
            r"suite 'cats': there is no folder /nowhere; correct its path",
        ),
    ],
)  # fmt: skip
def test_missing_data_is_named_with_what_to_do(folder: Path, tiny_model: str, changes: dict, message: str):
    with pytest.raises(InputError, match=message):
        check_data(load_settings(profile(folder, tiny_model, **changes), {}))


def test_every_missing_model_is_told_by_the_key_that_names_it(folder: Path):
    bi_encoder = {"kind": "bi_encoder", "encoder": {"model": "owner/other"}}
    cross_encoder = {"kind": "cross_encoder", "model": "owner/third", "first_stage": {"model": "./nowhere"}}
    teachers = {"one": bi_encoder, "two": cross_encoder}
    mining = {"veto": [{"rule": "top_k_perc_pos", "teacher": "one"}]}
    with pytest.raises(InputError) as caught:
        check_inputs(load_settings(profile(folder, "owner/name", teachers=teachers, mining=mining), {}))
    keys = [line.split(":")[0] for line in str(caught.value).splitlines() if ": the" in line]
    assert keys == ["base_model", "teachers.one.encoder", "teachers.two", "teachers.two.first_stage"]


def test_a_model_that_is_made_from_the_corpus_need_not_be_there(folder: Path):
    pretraining = {"tasks": ["retrieval"], "negatives_per_query": 0}
    check_inputs(load_settings(profile(folder, "made", from_scratch={}, pretraining=pretraining), {}))


class _Hub(http.server.BaseHTTPRequestHandler):
    """A hub that has the model owner/here and no other."""

    def do_GET(self) -> None:
        is_there = self.path.startswith("/api/models/owner/here")
        self.send_response(200 if is_there else 404)
        if not is_there:
            self.send_header("X-Error-Code", "RepoNotFound")
        body = b'{"id": "owner/here", "sha": "0", "siblings": []}' if is_there else b""
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize(("model", "code", "said"), [("owner/here", 0, ""), ("owner/gone", 1, "owner/gone")])
def test_the_command_asks_the_hub_for_a_model_and_downloads_nothing(folder, hub, model, code, said):
    environment = {**os.environ, "HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0", "HF_HOME": str(folder / "home")}
    command = [sys.executable, "-m", "conan_assets.settings", profile(folder, model)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == code, result.stderr
    assert said in result.stderr
    assert not list(folder.glob("home/hub/**/snapshots/*/*"))
