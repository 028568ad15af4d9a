"""The workflow in examples/: well-formed, and its steps do what they say when a shell runs them."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from conan_assets_tests.processes import ROOT

WORKFLOW = yaml.safe_load((ROOT / "examples" / "github-workflow.yml").read_text())
(JOB,) = WORKFLOW["jobs"].values()
GITHUBS_SHELLS = {None: ["bash", "-e"], "bash": ["bash", "--noprofile", "--norc", "-eo", "pipefail"]}
"""What GitHub starts on Linux for a step's ``shell``; docs.github.com, workflow syntax."""
BOT = "github-actions[bot]"
MARKER = "<!-- leaderboard of demo -->"
GH = """#!/usr/bin/env python3
import json, pathlib, subprocess, sys
kept = pathlib.Path("comments.json")
comments = json.loads(kept.read_text())
method = sys.argv[sys.argv.index("--method") + 1] if "--method" in sys.argv else "GET"
if method == "GET":
    if pathlib.Path("bad-gateway").exists():
        sys.exit("gh: HTTP 502")
    query = sys.argv[sys.argv.index("--jq") + 1]
    sys.exit(subprocess.run(["jq", "--raw-output", query], input=kept.read_text(), text=True).returncode)
body = pathlib.Path(sys.argv[-1].removeprefix("body=@")).read_text()
path = next(word for word in sys.argv if word.startswith("repos/owner/name/issues/"))
if method == "POST":
    assert path == "repos/owner/name/issues/5/comments"
    comments.append({"id": 70 + len(comments), "user": {"login": "github-actions[bot]"}, "body": body})
else:
    (changed,) = [comment for comment in comments if path == f"repos/owner/name/issues/comments/{comment['id']}"]
    changed["body"] = body
kept.write_text(json.dumps(comments))
"""


def step(name: str) -> dict:
    return next(step for step in JOB["steps"] if step.get("name") == name)


def test_it_runs_on_pull_requests_with_the_rights_it_needs_and_no_more():
    assert WORKFLOW[True] == {"pull_request": None}, "YAML 1.1 reads the key `on` as true"
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert JOB["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert JOB["timeout-minutes"] <= 60


def test_it_caches_pip_by_files_that_exist():
    (python,) = [step["with"] for step in JOB["steps"] if step.get("uses", "").startswith("actions/setup-python@")]
    assert python["cache"] == "pip"
    assert all((ROOT / path).is_file() for path in python["cache-dependency-path"].split())
    assert f">={python['python-version']}" in (ROOT / "pyproject.toml").read_text()


def test_its_profile_and_its_make_targets_exist():
    assert (ROOT / "conan_assets" / "profiles" / f"{JOB['env']['CONAN_PROFILE']}.yaml").is_file()
    targets = re.findall(r"\bmake (\w+)", " ".join(step.get("run", "") for step in JOB["steps"]))
    assert targets == ["demo"]
    for target in targets:
        result = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("script", [step["run"] for step in JOB["steps"] if "run" in step])
def test_its_scripts_are_bash(script: str):
    result = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "name", ["Show the leaderboard on the run's page", "Keep the leaderboard", "Comment the leaderboard"]
)
def test_a_leaderboard_that_was_written_before_the_demo_failed_is_shown_and_the_job_fails(name: str):
    assert step(name)["if"].startswith("${{ !cancelled() && hashFiles('conan_home/leaderboard.md') != ''")
    assert not any("continue-on-error" in part for part in (JOB, *JOB["steps"]))


def test_the_token_stays_out_of_the_checkout():
    (checkout,) = [step for step in JOB["steps"] if step.get("uses", "").startswith("actions/checkout@")]
    assert checkout["with"]["persist-credentials"] is False


def test_a_step_ends_with_the_first_command_that_fails(tmp_path: Path):
    assert run_step(tmp_path, "false | cat; touch gone-on") != 0
    assert not (tmp_path / "gone-on").exists()


@pytest.fixture
def pull_request(tmp_path: Path) -> Path:
    """A checkout in which `make demo` has run, and a `gh` that keeps the comments of a pull request in a file."""
    if shutil.which("jq") is None:
        pytest.skip("Debian's package jq is missing")
    (tmp_path / "gh").write_text(GH)
    (tmp_path / "gh").chmod(0o755)
    (tmp_path / "conan_home").mkdir()
    comment_as(tmp_path, [])
    return tmp_path


def run_step(folder: Path, script: str) -> int:
    """Run a script as GitHub does: from a file, by the shell that the workflow names."""
    (folder / "step.sh").write_text(script)
    shell = GITHUBS_SHELLS[WORKFLOW.get("defaults", {}).get("run", {}).get("shell")]
    variables = {"GITHUB_REPOSITORY": "owner/name", "PULL_REQUEST": "5", "CONAN_PROFILE": "demo"}
    environment = {**os.environ, **variables, "PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run([*shell, "step.sh"], cwd=folder, env=environment, check=False).returncode


def comment_as(folder: Path, comments: list[tuple[str, str]]) -> None:
    """Let the pull request have the comments ``(login, body)``, with ids from 70."""
    rows = [{"id": 70 + row, "user": {"login": login}, "body": body} for row, (login, body) in enumerate(comments)]
    (folder / "comments.json").write_text(json.dumps(rows))


def comments_after(folder: Path, leaderboard: str) -> list[str]:
    """Return the comments' bodies after the step has run on a leaderboard."""
    (folder / "conan_home" / "leaderboard.md").write_text(leaderboard)
    assert run_step(folder, step("Comment the leaderboard")["run"]) == 0
    return [comment["body"] for comment in json.loads((folder / "comments.json").read_text())]


def test_a_second_run_changes_the_comment_of_the_first(pull_request: Path):
    for leaderboard in ("| round 1 |", "| round 2 |"):
        assert comments_after(pull_request, leaderboard) == [f"{MARKER}\n{leaderboard}"]


def test_a_comment_of_somebody_else_is_never_changed(pull_request: Path):
    others = [("somebody", f"{MARKER}\nmine"), (BOT, "<!-- leaderboard of demo_zh -->"), (BOT, f"see {MARKER}")]
    comment_as(pull_request, others)
    assert comments_after(pull_request, "| round 1 |") == [*(body for _, body in others), f"{MARKER}\n| round 1 |"]


def test_of_several_comments_the_first_is_changed(pull_request: Path):
    comment_as(pull_request, [(BOT, MARKER)] * 3)
    assert comments_after(pull_request, "| round 1 |") == [f"{MARKER}\n| round 1 |", MARKER, MARKER]


def test_comments_that_cannot_be_listed_end_the_step_without_another_comment(pull_request: Path):
    comment_as(pull_request, [(BOT, MARKER)])
    before = (pull_request / "comments.json").read_text()
    (pull_request / "bad-gateway").touch()
    (pull_request / "conan_home" / "leaderboard.md").write_text("| round 1 |")
    assert run_step(pull_request, step("Comment the leaderboard")["run"]) != 0
    assert (pull_request / "comments.json").read_text() == before
