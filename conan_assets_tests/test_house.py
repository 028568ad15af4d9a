"""The rules of the house are enforced: each check fails when its rule is broken."""

import ast
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
LONGEST_FILE, MEDIAN_FILE, LONGEST_FUNCTION = 350, 95, 60


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    wide = {**os.environ, "COLUMNS": "300"}  # import-linter wraps long names
    return subprocess.run(command, cwd=folder, env=wide, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package that a test may break."""
    shutil.copytree(ROOT / "conan_assets", tmp_path / "conan_assets", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("plots.py", "import dagster", "Only defs/ and definitions.py know Dagster"),
        ("mining/__init__.py", "import dagster", "Only defs/ and definitions.py know Dagster"),
        ("training/__init__.py", "import conan_assets.mining.settings", "never import one another"),
        ("encoding/__init__.py", "import polars", "run in a lean image"),
        ("data/__init__.py", "import conan_assets.evaluation", "stand below search"),
        ("data/tables.py", "import conan_assets.data.curation", "imports in a circle"),
        ("evaluation/leaderboard_table.py", "import conan_assets.evaluation.leaderboard", "imports in a circle"),
        ("evaluation/report.py", "import conan_assets.evaluation.run", "Within evaluation every arrow points down"),
        ("search/vectors.py", "import conan_assets.search.nearest", "Within search every arrow points down"),
        ("evaluation/conventions.py", "import conan_assets.evaluation.leaderboard", "every arrow points down"),
        ("llm/__init__.py", "import conan_assets.synthesis.settings", "stand below search"),
        ("llm/__init__.py", "import conan_assets.data.tables", "stand below search"),
    ],
)
def test_an_import_against_the_rules_breaks_a_contract(copy: Path, module: str, line: str, contract: str):
    path = copy / "conan_assets" / module
    path.write_text(f"{path.read_text()}\n{line}\n")
    result = run([str(BIN / "lint-imports"), "--no-cache"], copy)
    broken = [text for text in result.stdout.splitlines() if "BROKEN" in text]
    assert result.returncode == 1
    assert any(contract in text for text in broken), result.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ('"""Module."""\n\nprint("hello")\n', "T201"),
        ('"""Module."""\n\n\ndef public(number: int) -> int:\n    return number\n', "D103"),
        ('"""Module."""\n\n\ndef _f(number):  # untyped\n    return number\n', "ANN001"),
        ('"""Module."""\n\nfrom dagster._core.events import DagsterEvent\n', "TID251"),
        (
            '"""Module."""\n\n\ndef _f(n: int) -> int:\n'
            + "".join(f"    if n == {i}:\n        n += 1\n" for i in range(9)),
            "C901",
        ),
    ],
)
def test_ruff_refuses_prints_missing_docstrings_and_types_complexity_and_the_inside_of_dagster(
    copy: Path, code: str, rule: str
):
    (copy / "conan_assets" / "broken.py").write_text(code)
    result = run([str(BIN / "ruff"), "check", "--no-cache", "conan_assets/broken.py"], copy)
    assert result.returncode == 1
    assert rule in result.stdout


@pytest.mark.slow
def test_mypy_refuses_a_wrong_type(copy: Path):
    (copy / "conan_assets" / "broken.py").write_text('"""Module."""\n\nNUMBER: int = "one"\n')
    result = run([str(BIN / "mypy"), "--cache-dir", str(ROOT / ".mypy_cache"), "conan_assets/broken.py"], copy)
    assert result.returncode == 1
    assert "broken.py:3: error" in result.stdout


@pytest.mark.slow
def test_loading_the_graph_imports_nothing_heavy():
    code = (
        "import sys, conan_assets.definitions; "
        "print([name for name in ('torch', 'faiss', 'mteb', 'sentence_transformers', 'transformers', 'datasets', "
        "'matplotlib', 'openai') if name in sys.modules])"
    )
    result = run([sys.executable, "-c", code], ROOT)
    assert result.stdout.strip() == "[]", result.stderr


def lines_of_files() -> dict[str, int]:
    return {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in (ROOT / "conan_assets").rglob("*.py")
    }


def lines_of_functions(code: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def test_a_file_is_read_at_once():
    lines = lines_of_files()
    assert {path: count for path, count in lines.items() if count > LONGEST_FILE} == {}
    assert statistics.median(lines.values()) <= MEDIAN_FILE


def test_a_function_is_read_at_once():
    paths = [ROOT / path for path in lines_of_files()]
    functions = {(path.name, name): lines for path in paths for name, lines in lines_of_functions(path.read_text())}
    assert {where: lines for where, lines in functions.items() if lines > LONGEST_FUNCTION} == {}


def test_the_lines_of_a_function_are_counted_with_its_signature():
    code = "def one(\n    number: int,\n) -> int:\n    return number\n"
    assert list(lines_of_functions(code)) == [("one", 4)]
