"""CONTRIBUTING.md names every file that a usual change touches: toy changes in those files alone work."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conan_assets_tests.toy_changes import CHANGES, Change

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text()
USUAL = GUIDE.split("## The usual changes")[1]
SECTIONS = {part.split("\n")[0]: part for part in USUAL.split("\n### ")[1:]}
FILE = re.compile(r"`(conan_assets/[\w/]+(?:\.py|/))`")


def named_files(section: str) -> list[str]:
    return FILE.findall(SECTIONS[section])


def apply(change: Change, folder: Path) -> None:
    """Make a change in a copy of the package; refuse a file that its section does not name."""
    named = named_files(change.section)
    shutil.copytree(ROOT / "conan_assets", folder / "conan_assets", ignore=shutil.ignore_patterns("__pycache__"))
    for name, edits in change.edits.items():
        assert name in named, f"CONTRIBUTING.md, {change.section!r}, does not name {name}"
        path = folder / name
        text = path.read_text()
        for old, new in edits:
            assert text.count(old) == 1, (name, old)
            text = text.replace(old, new)
        path.write_text(text)
    for name, text in change.new_files.items():
        assert f"{Path(name).parent}/" in named, f"CONTRIBUTING.md, {change.section!r}, asks for no new file {name}"
        with (folder / name).open("x") as file:
            file.write(text)


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.section)
def test_a_toy_change_in_the_named_files_alone_works(change: Change, tmp_path: Path, tiny_model: str):
    apply(change, tmp_path)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    result = subprocess.run(
        [sys.executable, "-c", change.script, tiny_model],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_a_file_that_is_not_named_is_refused(tmp_path: Path):
    change = Change("A rule that vetoes candidates", {"conan_assets/mining/miner.py": []}, {}, "")
    with pytest.raises(AssertionError, match=r"does not name conan_assets/mining/miner\.py"):
        apply(change, tmp_path)


def test_five_usual_changes_are_described_with_files_that_exist():
    assert len(SECTIONS) == 5
    for section in SECTIONS:
        assert len(named_files(section)) > 1
        assert all((ROOT / name).exists() for name in named_files(section)), section
