"""`prompt_response_pairs` in the graph, and as a user calls it: commands in processes of their own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from conan_assets.settings import Settings, load_settings
from conan_assets_tests.defs.conftest import metadata, programme, run, table, write_beir_folder
from conan_assets_tests.llm.server import KEY, ChatServer, Reply, questions

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
IN_PROCESS = ("--config-json", '{"execution": {"config": {"in_process": {}}}}')
PRICES = {"price_per_million_prompt_tokens": 10.0, "price_per_million_completion_tokens": 20.0}


def ask_about_it(number: int, body: dict) -> Reply:
    """Answer with a question that shares words with its passage, and with one that quotes it."""
    passage = re.search(r"<passage-(\w+)>\n(.*)\n</passage-\1>", body["messages"][0]["content"], re.DOTALL)[2]
    animal, place = passage.split(".")[0].split()[0], passage.split()[3]
    return questions(f"What does the {animal} do at the {place} on day {number}?", passage[:40])


def with_generation(folder: Path, model: str, **generation: object) -> Settings:
    if not (folder / "animals").exists():
        write_beir_folder(folder / "animals")
    generation = {"kind": "openai", "model": "writer", "max_pairs": 12, **generation}
    return programme(folder / "animals", model, folder / "home", generation=generation)


def test_raised_concurrency_and_prices_make_nothing_again_and_a_raised_target_asks_only_what_is_new(
    tmp_path, tiny_model
):
    with ChatServer(ask_about_it) as server:
        here = {"base_url": server.base_url}
        run(with_generation(tmp_path, tiny_model, **here), "+prompt_response_pairs")
        asked = len(server.requests)
        faster = with_generation(tmp_path, tiny_model, **here, calls={"concurrency": 32}, budget=PRICES)
        assert metadata(run(faster, "prompt_response_pairs"))["prompt_response_pairs"]["reused"].value
        more = with_generation(tmp_path, tiny_model, **here, max_pairs=20)
        shown = metadata(run(more, "prompt_response_pairs"))["prompt_response_pairs"]
    assert not shown["reused"].value
    assert shown["answers_from_journal"].value == asked == 6
    assert len(server.requests) == 10


def test_the_gate_searches_with_a_teacher_of_the_programme_and_encodes_for_it(tmp_path, tiny_model):
    gates = {"teacher": "tiny", "top_k": 64, "min_teacher_score": -1.0}
    with ChatServer(ask_about_it) as server:
        settings = with_generation(tmp_path, tiny_model, base_url=server.base_url, gates=gates)
        shown = metadata(run(settings, '+key:"teacher_scores/tiny"'))
    written = shown["prompt_response_pairs"]
    assert written["mean_rank_of_kept"].value >= 1
    assert written["mean_teacher_score_of_kept"].value <= 1
    for reason in ("quotes_passage", "other_language", "near_duplicate", "not_retrieved", "low_teacher_score"):
        assert reason in written["rejected_by_reason"].md_str
    asked_by_gate = set(table(settings, "prompt_response_pairs")["query"])
    queries = set(table(settings, "training_pairs").filter(task="retrieval")["query"])
    assert shown["teacher_scores/tiny"]["encoded"].value == len(queries - asked_by_gate)


class Commands:
    """A user's shell: a profile, a storage root, a Dagster home, and the endpoint in the environment."""

    def __init__(self, folder: Path, base_url: str) -> None:
        self.folder = folder
        self.output = ""
        self.environment = os.environ | {
            "CONAN_PROFILE": str(folder / "profile.yaml"),
            "CONAN_HOME": str(folder / "home"),
            "DAGSTER_HOME": str(folder / "dagster"),
            "OPENAI_BASE_URL": base_url,
            "OPENAI_API_KEY": KEY,
            "OMP_NUM_THREADS": "1",
        }
        (folder / "dagster").mkdir()

    def call(self, *command: str) -> subprocess.CompletedProcess:
        arguments = [sys.executable, "-m", *command]
        done = subprocess.run(arguments, cwd=REPOSITORY, env=self.environment, capture_output=True, text=True)
        self.output += done.stdout + done.stderr
        return done

    def materialize(self, selection: str, *options: str) -> int:
        command = ("dagster", "asset", "materialize", "-m", "conan_assets.definitions", "--select", selection)
        return self.call(*command, *options).returncode


def test_an_endpoint_in_the_environment_is_all_that_the_command_needs_and_the_key_stands_nowhere(tmp_path, tiny_model):
    settings = with_generation(tmp_path, tiny_model, budget=PRICES)
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json", exclude_unset=True)))
    with ChatServer(lambda number, body: Reply(status=401)) as server:
        shell = Commands(tmp_path, server.base_url)
        assert shell.materialize("raw_corpus,raw_pairs", *IN_PROCESS) == 0, shell.output
        assert shell.materialize("prompt_response_pairs", *IN_PROCESS) != 0
        assert "refuses the model 'writer'" in shell.output
        server.script = ask_about_it
        assert shell.materialize("prompt_response_pairs") == 0, shell.output
        assert set(server.keys) == {f"Bearer {KEY}"}
    rows = table(load_settings(environment=shell.environment), "prompt_response_pairs")
    assert set(rows.select("origin", "split").rows()) == {("llm", "train")}
    shown = latest_metadata(shell)
    assert shown["generator"].value == "openai"
    assert shown["endpoint"].value == server.base_url
    assert (shown["written"].value, shown["pairs"].value, shown["rejected"].value) == (12, 6, 6)
    assert (shown["prompt_tokens"].value, shown["cost"].value) == (600, pytest.approx(0.0084))
    assert rows["query"][0] in shown["example_pairs"].md_str
    assert shown["pairs_per_second"].value > 0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".db", ".jsonl", ".json", ".parquet"}
    assert KEY not in shell.output
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def latest_metadata(shell: Commands) -> dict[str, dg.MetadataValue]:
    with dg.DagsterInstance.from_config(shell.environment["DAGSTER_HOME"]) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("prompt_response_pairs"))
    return dict(event.asset_materialization.metadata)


def test_the_estimate_names_calls_tokens_and_cost_and_leaves_nothing_behind(tmp_path, tiny_model):
    settings = with_generation(tmp_path, tiny_model, budget=PRICES)
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json", exclude_unset=True)))
    shell = Commands(tmp_path, "http://127.0.0.1:9/v1")
    done = shell.call("conan_assets", "estimate", str(tmp_path / "profile.yaml"))
    lines = dict(line.rsplit(maxsplit=1) for line in done.stdout.splitlines() if line)
    assert (lines["calls"], lines["pairs"], lines["model"]) == ("6", "12", "writer")
    assert 0 < float(lines["cost expected"]) < float(lines["cost at most"])
    assert not (tmp_path / "home").exists()


def test_the_estimate_of_a_profile_without_an_endpoint_says_that_it_costs_nothing(tmp_path):
    done = Commands(tmp_path, "http://127.0.0.1:9/v1").call("conan_assets", "estimate", "demo", "--device", "h100")
    assert "costs nothing" in done.stdout
