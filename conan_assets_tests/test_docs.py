"""The documentation is run: profiles are validated, Python is executed, links and commands lead somewhere."""

import doctest
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml

from conan_assets.compare.ways import load_comparison
from conan_assets.settings import SettingsError, load_settings
from conan_assets.training.config import read_config
from conan_assets_tests.conftest import build_tiny_model
from conan_assets_tests.markdown import PAGES, ROOT, Block, anchors_of, blocks_of, prose_of
from conan_assets_tests.settings_page import PAGE, settings_page

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
UNCHECKED = {"docs/deployment.md": 1}
"""How many blocks of each page say that no test can check them."""

REST_OF_A_PROFILE = {
    "name": "mine",
    "sources": {"python_docs": {"kind": "python_docs"}},
    "base_model": {"model": "sentence-transformers/all-MiniLM-L6-v2"},
    "teachers": {"minilm": {"kind": "bi_encoder", "encoder": {"model": "sentence-transformers/all-MiniLM-L6-v2"}}},
    "mining": {"veto": [{"rule": "top_k_perc_pos", "teacher": "minilm"}]},
    "rounds": 1,
    "suites": {"beir": {"python_docs": {"kind": "local", "dataset": "python_docs", "splits": ["dev", "test"]}}},
    "dev_metric": {"suite": "python_docs"},
}
"""What a block that shows a part of a profile is merged into; it has what such parts refer to."""

HUB_MODELS = ("intfloat/e5-large-v2",)
"""Names of models in Python blocks; in the tests' hub cache each is a tiny one."""


def blocks_in(language: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language and block.unchecked is None]


def merged(below: object, above: object) -> object:
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return {**below, **{key: merged(below.get(key), value) for key, value in above.items()}}


def validate_profile(text: str, folder: Path) -> None:
    """Load a block as a profile, one that names no programme being a part that gets the rest, or as a comparison."""
    values = yaml.safe_load(text)
    path = folder / "profile.yaml"
    if "ways" in values:
        path.write_text(text)
        load_comparison(str(path), {})
        return
    path.write_text(yaml.safe_dump(values if "name" in values else merged(REST_OF_A_PROFILE, values)))
    load_settings(str(path), {})


@pytest.mark.parametrize("block", blocks_in("yaml"), ids=str)
def test_every_yaml_block_is_a_profile_or_a_part_of_one(block: Block, tmp_path: Path):
    validate_profile(block.text, tmp_path)


def test_a_block_with_a_wrong_key_would_be_found(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"mining\.dept: unknown key"):
        validate_profile("mining: {dept: 3}", tmp_path)


@pytest.mark.parametrize("block", blocks_in("json"), ids=str)
def test_every_json_block_can_be_read_and_a_trainers_config_is_one(block: Block, tmp_path: Path):
    if "stages" in json.loads(block.text):
        (tmp_path / "config.json").write_text(block.text)
        read_config(tmp_path / "config.json")


def write_hub_cache(cache: Path, folder: Path) -> None:
    """Put a tiny model into the cache of the hub under each name that the documentation uses."""
    model = Path(build_tiny_model(folder, positions=512))
    for name in HUB_MODELS:
        repository = cache / f"models--{name.replace('/', '--')}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("0" * 40)
        (repository / "snapshots").mkdir()
        (repository / "snapshots" / ("0" * 40)).symlink_to(model)


def run_python(page: Path, blocks: list[Block], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a page's blocks one after the other in one namespace; line numbers of errors are those of the page."""
    lines = [""] * len(page.read_text().splitlines())
    for block in blocks:
        code = block.text.splitlines()
        lines[block.line - 1 : block.line - 1 + len(code)] = code
    script = folder / page.with_suffix(".py").name
    script.write_text("\n".join(lines))
    cache = folder / "hub"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, script], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({block.page for block in blocks_in("python")}), ids=lambda page: page.name)
def test_every_python_block_runs_offline_after_those_above_it(page: Path, tmp_path: Path):
    write_hub_cache(tmp_path / "hub", tmp_path)
    texts = [
        "how tall is the Eiffel tower" if number == 7 else f"{letter} " * 9
        for number, letter in enumerate("abcdefghijklmnopqrst")
    ]
    corpus = pl.DataFrame({"doc_id": [f"d{number}" for number in range(20)], "text": texts})
    corpus.write_parquet(tmp_path / "corpus.parquet")
    result = run_python(page, [block for block in blocks_in("python") if block.page == page], tmp_path)
    assert result.returncode == 0, result.stderr


def test_an_error_in_a_python_block_has_the_line_of_its_page(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```python\nx = 1\n```\n\nThen\n\n```python\nassert x == 2\n```\n")
    result = run_python(page, list(blocks_of(page)), tmp_path)
    assert result.returncode == 1
    assert 'page.py", line 10' in result.stderr


def test_no_block_is_left_out_in_silence():
    marked = [str(block.page.relative_to(ROOT)) for block in BLOCKS if block.unchecked]
    assert {page: marked.count(page) for page in marked} == UNCHECKED
    assert {block.language for block in BLOCKS} <= {"yaml", "python", "json", "console", "text", ""}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_and_headings_lead_somewhere(page: Path):
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", prose_of(page)):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_are_shown_exist(page: Path):
    content, targets = page.read_text(), (ROOT / "Makefile").read_text()
    for module in re.findall(r"python -m ((?:conan_assets|benchmarks)[\w.]*)", content):
        found = importlib.util.find_spec(module.rstrip("."))
        assert found is not None, module
    for target in re.findall(r"`make (\w+)|^make (\w+)", content, re.MULTILINE):
        assert re.search(rf"^{''.join(target)}:", targets, re.MULTILINE), target


def test_the_tables_of_settings_are_those_of_the_schema():
    assert PAGE.read_text() == settings_page(), "docs/settings.md is out of date: call `make docs`"


def modules_with_examples() -> list[str]:
    paths = [path for path in (ROOT / "conan_assets").rglob("*.py") if ">>> " in path.read_text()]
    return sorted(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths)


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_in_docstrings_give_what_they_show(name: str):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
