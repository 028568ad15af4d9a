"""What a user types: the dagster commands on a profile, with good and bad input."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from conan_assets_tests.defs.conftest import programme, write_beir_folder
from conan_assets_tests.processes import BIN, make

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
QUIET = re.compile(r"^export PYTHONWARNINGS=(\S+)", re.MULTILINE)


@pytest.fixture
def profile(tmp_path: Path, tiny_model: str) -> Path:
    """A profile file of the miniature programme beside its data."""
    write_beir_folder(tmp_path / "animals")
    settings = programme(tmp_path / "animals", tiny_model, tmp_path / "home")
    path = tmp_path / "profile.yaml"
    path.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    return path


def dagster(profile: Path, *arguments: str, home: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "CONAN_PROFILE": str(profile), "CONAN_HOME": str(home or profile.parent / "home")}
    environment["DAGSTER_HOME"] = str(profile.parent / "dagster")
    environment["PYTHONWARNINGS"] = QUIET.search((ROOT / "README.md").read_text())[1]
    Path(environment["DAGSTER_HOME"]).mkdir(exist_ok=True)
    command = [str(Path(sys.executable).parent / "dagster"), *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)


def materialize(profile: Path, selection: str, **options: Path) -> subprocess.CompletedProcess[str]:
    in_process = json.dumps({"execution": {"config": {"in_process": {}}}})
    arguments = ["asset", "materialize", "-m", "conan_assets.definitions", "--config-json", in_process]
    return dagster(profile, *arguments, "--select", selection, **options)


def test_the_workspace_is_valid_and_the_assets_are_listed(profile: Path):
    validated = dagster(profile, "definitions", "validate", "-w", "workspace.yaml")
    assert validated.returncode == 0, validated.stderr
    listed = dagster(profile, "asset", "list", "-m", "conan_assets.definitions").stdout.split()
    assert {"raw_corpus", "teacher_scores/tiny", "round_2/hard_negatives", "released_model"} <= set(listed)


@pytest.mark.parametrize(
    ("variables", "where"),
    [
        ({}, ""),
        ({"PROFILE": "mine.yaml"}, "PROFILE=mine.yaml"),
        ({"PROFILE": "mine.yaml", "CONAN_HOME": "/data/home"}, "PROFILE=mine.yaml CONAN_HOME=/data/home"),
    ],
)
def test_the_demo_ends_with_the_outcome_and_the_commands_that_open_this_programme(
    variables: dict[str, str], where: str
):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CONAN_", "DAGSTER_"))}
    command = [*make("demo", **variables), "--dry-run"]
    lines = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    *_, outcome, _, _, negatives, graph = lines.splitlines()
    assert outcome == f"cat {variables.get('CONAN_HOME', ROOT / 'conan_home')}/outcome.md"
    look = f"{where.replace('PROFILE', 'CONAN_PROFILE')} {BIN}/python -m conan_assets look 1".strip()
    assert negatives == f'echo "The negatives:  {look}"'
    assert graph == f'echo "The graph:      {f"make ui {where}".strip()}"'


def test_a_later_command_goes_on_from_what_an_earlier_one_left(profile: Path):
    assert materialize(profile, "training_pairs++").returncode == 1, "its inputs are not there yet"
    assert materialize(profile, "+training_pairs,+prompt_response_pairs").returncode == 0
    result = materialize(profile, 'key:"teacher_scores/bm25"')
    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stderr, "README's commands silence what Dagster says of its own names"
    assert list((profile.parent / "home" / "assets" / "teacher_scores" / "bm25").glob("*/table.parquet"))


def test_an_unknown_setting_ends_the_command_and_is_named(profile: Path):
    profile.write_text(profile.read_text() + "roundz: 2\n")
    result = materialize(profile, "*")
    assert result.returncode == 1
    assert "roundz: unknown key; accepted here" in result.stderr + result.stdout


def test_a_corrupt_file_ends_the_command_is_named_and_nothing_half_written_is_left(profile: Path):
    (profile.parent / "animals" / "corpus.jsonl").unlink()
    (profile.parent / "animals" / "corpus.parquet").write_bytes(b"PAR1 not really")
    result = materialize(profile, "raw_corpus")
    assert result.returncode == 1
    assert "corpus.parquet" in result.stderr + result.stdout
    assert not list((profile.parent / "home").rglob("table.parquet"))


def test_a_storage_root_that_cannot_be_written_ends_the_command_and_is_named(profile: Path):
    blocked = profile.parent / "file"
    blocked.write_text("")
    result = materialize(profile, "raw_corpus", home=blocked / "home")
    assert result.returncode == 1
    assert "set $CONAN_HOME elsewhere" in result.stderr + result.stdout


def test_a_base_model_that_is_not_there_ends_the_command_with_the_way_to_get_it(profile: Path):
    values = yaml.safe_load(profile.read_text())
    values["base_model"]["model"] = "nobody/has-this-model"
    profile.write_text(yaml.safe_dump(values))
    result = materialize(profile, 'key:"round_0/checkpoint"')
    assert result.returncode == 1
    assert "hf download nobody/has-this-model" in result.stderr + result.stdout
