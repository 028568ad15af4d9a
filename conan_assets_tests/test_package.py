"""What ``import conan_assets`` gives, and what it costs."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import conan_assets

ROOT = Path(__file__).parents[1]


def imported_after(code: str) -> set[str]:
    """Return the packages that an interpreter of its own has imported after ``code``."""
    code = f"{code}; import sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(result.stdout.split())


@pytest.mark.parametrize("name", conan_assets.__all__)
def test_every_name_of_the_package_is_what_its_module_has(name: str):
    exported = getattr(conan_assets, name)
    assert exported.__name__ == name
    assert getattr(sys.modules[exported.__module__], name) is exported


def test_a_name_that_the_package_has_not_is_an_error_with_those_it_has():
    with pytest.raises(AttributeError, match=r"no attribute 'mime'.*build_defs.*mine"):
        conan_assets.mime  # noqa: B018
    assert {"mine", "__version__"} <= set(dir(conan_assets))


def test_importing_the_package_imports_nothing_but_the_standard_library():
    assert imported_after("import conan_assets") <= {"conan_assets", *sys.stdlib_module_names, *imported_after("pass")}


def test_the_version_of_the_distribution_is_that_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "conan_assets.__version__"}
    assert "py.typed" in project["tool"]["setuptools"]["package-data"]["conan_assets"]
