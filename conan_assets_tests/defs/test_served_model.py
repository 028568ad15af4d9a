"""`served_model`: a real server answers as the release does, and what is not the release fails."""

import json
import shutil
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Dense

from conan_assets.encoding.loading import load_model
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.evaluation.sampled_task import SampledTask, sample_task
from conan_assets.evaluation.served import compare_served
from conan_assets.evaluation.server import Server, ServerError
from conan_assets.evaluation.server_process import running_server
from conan_assets.evaluation.serving import write_serving_files
from conan_assets.evaluation.settings import EvaluationError, ServerSettings
from conan_assets.settings import Settings
from conan_assets_tests.defs.conftest import metadata, run
from conan_assets_tests.infinity import infinity_command
from conan_assets_tests.processes import free_port

PROMPTS = {"query": "question: ", "document": "passage: "}
TASK = SampledTask(
    queries=[f"which {animal} sleeps in the barn?" for animal in ("cat", "dog", "owl", "fox")],
    documents=[f"The {animal} {does}." for animal in ("cat", "dog", "owl", "fox") for does in ("sleeps", "sings")],
    relevant=[{2 * number: 1} for number in range(4)],
)


@pytest.fixture(scope="module")
def served(finished: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Serve the programme's release, one of the demo's size, one with prompts, and two that went wrong.

    Yields the address and the folder of all of them.
    """
    folder = tmp_path_factory.mktemp("served")
    shutil.copytree((finished.home / "released_model").resolve(), folder / "release")
    write_prompted(folder / "release", folder / "prompted")
    write_pooled_by_the_first_token(folder / "prompted", folder / "first_token")
    write_shorter(folder / "prompted", folder / "shorter")
    write_of_the_demos_size(folder / "minilm")
    names = ("release", "minilm", "prompted", "first_token", "shorter")
    models = [f"--model-id {folder / name} --served-model-name {name}" for name in names]
    command = " ".join([infinity_command(folder / "infinity"), *models])
    with running_server(ServerSettings(command=command), folder, PROMPTS) as server:
        yield server.url, folder


def write_prompted(source: Path, folder: Path) -> None:
    shutil.copytree(source, folder)
    path = folder / "config_sentence_transformers.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prompts": PROMPTS}))


def write_pooled_by_the_first_token(source: Path, folder: Path) -> None:
    shutil.copytree(source, folder)
    path = folder / "1_Pooling" / "config.json"
    flags = {"pooling_mode": "cls", "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    path.write_text(json.dumps(json.loads(path.read_text()) | flags))


def write_shorter(source: Path, folder: Path) -> None:
    model = SentenceTransformer(str(source), device="cpu")
    model.insert(2, Dense(32, 16))
    model.save(str(folder), create_model_card=False)
    write_serving_files(folder, model, "shorter")


def write_of_the_demos_size(folder: Path) -> None:
    """Release the demo's base model, with its limit of tokens and a prompt."""
    model = load_model(EncoderSettings("sentence-transformers/all-MiniLM-L6-v2", max_tokens=128))
    model.prompts = PROMPTS
    model.save(str(folder), create_model_card=False)
    write_serving_files(folder, model, "minilm")


def settings(served: tuple[str, Path], **values: object) -> ServerSettings:
    return ServerSettings(base_url=served[0], **values)


def asked(served: tuple[str, Path], model: str, prompts: dict[str, str] = PROMPTS, **values: object):
    limits = settings(served, model=model, **values)
    return compare_served(Server(limits, served[0], prompts), served[1] / "prompted", TASK, limits)


@pytest.mark.slow
def test_a_real_server_answers_as_the_release_and_the_asset_shows_the_figures(copied: Settings, served):
    server = settings(served, model="release", queries=5, documents=20, batch_size=7)
    with_server = copied.model_copy(update={"release": copied.release.model_copy(update={"server": server})})
    seen = metadata(run(with_server, "served_model"))["served_model"]
    assert seen["ndcg_at_10_served"].value == seen["ndcg_at_10_of_the_release"].value > 0
    assert (seen["queries"].value, seen["documents"].value) == (5, 20)
    assert "| document | 20 |" in seen["vectors"].value
    assert seen["release"].value == (copied.home / "released_model").resolve().name
    wrong = server.model_copy(update={"model": "first_token"})
    failing = copied.model_copy(update={"release": copied.release.model_copy(update={"server": wrong})})
    message = run(failing, "served_model", raise_on_error=False).failure_data_for_node("served_model").error.message
    assert "does not answer as" in message
    assert "another pooling" in message


@pytest.mark.slow
def test_prompts_that_are_put_right_give_the_vectors_of_the_release(served):
    report = asked(served, "prompted")
    assert report.drift == []
    assert min(row.lowest_cosine for row in report.vectors) > 0.99999
    assert report.ndcg_at_10_served == report.ndcg_at_10_of_the_release


@pytest.mark.slow
def test_a_release_of_the_demos_size_is_served_as_it_is_and_cut_where_it_is(served):
    long = SampledTask(TASK.queries, [f"{text} " * 40 for text in TASK.documents], TASK.relevant)
    limits = settings(served, model="minilm")
    report = compare_served(Server(limits, served[0], PROMPTS), served[1] / "minilm", long, limits)
    assert report.drift == []
    assert min(row.lowest_cosine for row in report.vectors) > 0.99999


@pytest.mark.slow
@pytest.mark.parametrize(
    ("query", "cause"),
    [
        ("", "their prompt is left out"),
        ("question: question: ", "their prompt is put twice"),
        ("passage: ", "the prompt of the document is put before them"),
        ("Query - ", "another pooling, other weights, or texts cut elsewhere"),
    ],
)
def test_a_broken_prompt_is_found_and_named(served, query: str, cause: str):
    (drift,) = [line for line in asked(served, "prompted", {**PROMPTS, "query": query}).drift if "cosine" in line]
    assert drift.startswith("the cosine of query vectors")
    assert drift.endswith(f"below 0.999: {cause}")


@pytest.mark.slow
def test_a_wrong_pooling_other_dimensions_and_other_models_are_found(served):
    report = asked(served, "first_token")
    assert [line.partition(":")[0][:27] for line in report.drift[:2]] == [
        "the cosine of query vectors",
        "the cosine of document vect",
    ]
    assert "another pooling" in report.drift[0]
    with pytest.raises(ServerError, match="gives vectors of 16 components, the release 32"):
        asked(served, "shorter")
    with pytest.raises(ServerError, match=r"refuses: .*nobody"):
        asked(served, "nobody")
    with pytest.raises(ServerError, match=r"lists 5 models \(.*first_token.*\): name the one"):
        _ = Server(settings(served), served[0], PROMPTS).model


@pytest.mark.slow
def test_a_server_of_another_protocol_is_named(served):
    with pytest.raises(ServerError, match="is it the right address"):
        asked(served, "prompted", protocol="tei")


@pytest.mark.slow
def test_a_server_that_takes_too_long_is_named_with_what_to_raise():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        limits = ServerSettings(base_url=url, model="release", timeout_seconds=0.2)
        with pytest.raises(ServerError, match=r"did not answer within 0\.2 s: raise release\.server\.timeout_seconds"):
            Server(limits, url, PROMPTS).embed(["a text"], "query")


class EmbedHandler(BaseHTTPRequestHandler):
    """`/embed` as text-embeddings-inference documents it: inputs, truncate, prompt_name; a list of vectors."""

    model: ClassVar[SentenceTransformer]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert (self.path, body["truncate"]) == ("/embed", True)
        vectors = self.model.encode(body["inputs"], prompt_name=body.get("prompt_name"))
        answer = json.dumps(vectors.tolist()).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


def test_the_prompt_is_left_to_text_embeddings_inference_by_its_name(tiny_model: str, tmp_path: Path):
    write_prompted(Path(tiny_model), tmp_path / "prompted")
    EmbedHandler.model = SentenceTransformer(str(tmp_path / "prompted"), device="cpu")
    with ThreadingHTTPServer(("127.0.0.1", 0), EmbedHandler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{listening.server_port}"
        limits = ServerSettings(base_url=url, protocol="tei", batch_size=3)
        report = compare_served(Server(limits, url, PROMPTS), tmp_path / "prompted", TASK, limits)
        listening.shutdown()
    assert [line for line in report.drift if "cosine" in line] == []


def test_a_server_that_is_not_there_is_named_with_the_way_out():
    url = f"http://user:secret@127.0.0.1:{free_port()}/v1"
    limits = ServerSettings(base_url=url, model="release")
    with pytest.raises(ServerError, match=r"no server answers at .*start it as serving\.md") as raised:
        Server(limits, url, PROMPTS).embed(["a text"], "query")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("no-such-server --port {port}", r"cannot be run: .*no-such-server"),
        ("sh -c 'echo no weights for {port}; exit 3'", r"(?s)ended with status 3 .*no weights for \d+"),
        ("sleep {port}", r"took more than 0\.2 s"),
    ],
)
def test_a_command_that_starts_no_server_is_told_with_what_it_said(command: str, message: str, tmp_path: Path):
    limits = ServerSettings(command=command, start_seconds=0.2)
    with pytest.raises(ServerError, match=message), running_server(limits, tmp_path, PROMPTS):
        pass


@pytest.mark.parametrize("values", [{}, {"command": "serve", "base_url": "http://127.0.0.1:{port}/v1"}])
def test_a_server_without_an_address_is_refused(values: dict[str, str]):
    with pytest.raises(ValueError, match=r"name the base_url|put \{port\} into"):
        ServerSettings(**values)


def test_the_sample_holds_all_relevant_documents_and_is_the_same_each_time():
    documents = pl.DataFrame({"doc_id": [f"d{i:03}" for i in range(100)], "text": [f"text {i}" for i in range(100)]})
    pairs = pl.DataFrame(
        {
            "query_id": ["q1", "q1", "q2", "q3"],
            "query": ["one", "one", "two", "three"],
            "doc_id": ["d007", "d050", "d099", "gone"],
            "score": [2.0, 0.5, 1.0, 1.0],
        }
    )
    limits = ServerSettings(base_url="http://127.0.0.1:1/v1", documents=10)
    task = sample_task(pairs, documents, limits)
    assert task.queries == ["one", "two"]
    assert [{task.documents[row]: grade for row, grade in found.items()} for found in task.relevant] == [
        {"text 7": 2, "text 50": 1},
        {"text 99": 1},
    ]
    assert len(task.documents) == 10
    assert task == sample_task(pairs, documents, limits)
    with pytest.raises(EvaluationError, match="no query"):
        sample_task(pairs.filter(doc_id="gone"), documents, limits)


def test_vectors_that_are_no_numbers_find_nothing():
    documents = np.eye(8, dtype=np.float32)
    assert TASK.ndcg(documents[[0, 2, 4, 6]], documents) == 1.0
    assert TASK.ndcg(np.full((4, 8), np.nan, np.float32), documents) < 1.0
