"""The workflow in examples/: well-formed, and its steps do what they say when a shell runs them."""

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
GH = """#!/usr/bin/env python3
import pathlib, sys
kept = pathlib.Path("kept.txt")
method = sys.argv[sys.argv.index("--method") + 1] if "--method" in sys.argv else "GET"
if method == "GET":
    print("71" if kept.exists() else "", end="")
else:
    body = pathlib.Path(sys.argv[-1].removeprefix("body=@")).read_text()
    kept.write_text(method + " " + next(word for word in sys.argv if word.startswith("repos/")) + "\\n" + body)
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


def test_a_second_run_changes_the_comment_of_the_first(tmp_path: Path):
    script = step("Comment the leaderboard")["run"]
    for program in set(re.findall(r"\b(cat|head)\b", script)):
        assert shutil.which(program)
    (tmp_path / "gh").write_text(GH)
    (tmp_path / "gh").chmod(0o755)
    (tmp_path / "conan_home").mkdir()
    variables = {"GITHUB_REPOSITORY": "owner/name", "PULL_REQUEST": "5", "CONAN_PROFILE": "demo"}
    environment = {**os.environ, **variables, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    called = []
    for leaderboard in ("| round 1 |", "| round 2 |"):
        (tmp_path / "conan_home" / "leaderboard.md").write_text(leaderboard)
        subprocess.run(["bash", "-eo", "pipefail", "-c", script], cwd=tmp_path, env=environment, check=True)
        request, marker, body = (tmp_path / "kept.txt").read_text().splitlines()
        assert marker == "<!-- leaderboard of demo -->"
        assert body == leaderboard
        called.append(request)
    assert called == ["POST repos/owner/name/issues/5/comments", "PATCH repos/owner/name/issues/comments/71"]
