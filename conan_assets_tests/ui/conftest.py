"""A finished programme in miniature, made by the command that a user gives."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Browser

from conan_assets_tests.defs.conftest import LEARNS, programme, write_beir_folder
from conan_assets_tests.processes import ROOT, make
from conan_assets_tests.ui.browser import Ui, chromium, served


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_model: str) -> dict[str, str]:
    """The environment in which `make demo` has materialized the whole graph of a tiny programme."""
    folder = tmp_path_factory.mktemp("ui")
    write_beir_folder(folder / "animals")
    settings = programme(folder / "animals", tiny_model, folder / "home")
    values = settings.model_dump(mode="json")
    values["training"][0] |= LEARNS
    (folder / "profile.yaml").write_text(yaml.safe_dump(values))
    places = {"PROFILE": "profile.yaml", "CONAN_HOME": "home", "DAGSTER_HOME": "dagster"}
    environment = {**os.environ, **{name: str(folder / place) for name, place in places.items()}}
    result = subprocess.run(make("demo"), cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return environment


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make ui` prints."""
    return tmp_path_factory.mktemp("served") / "ui.log"


@pytest.fixture(scope="module")
def address(finished: dict[str, str], log: Path) -> Iterator[str]:
    """Where `make ui` serves the finished graph."""
    with served(log, finished) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser that is closed with its last test: its event loop would be in the way of other files' tests."""
    with chromium() as browser:
        yield browser


@pytest.fixture
def ui(browser: Browser, address: str) -> Iterator[Ui]:
    """A window on the finished graph whose console is free of errors at the end of the test."""
    ui = Ui(browser, address)
    yield ui
    ui.page.close()
    assert ui.errors == []
