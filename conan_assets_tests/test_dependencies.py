"""What is installed is what was audited: every requirement, and theirs in turn, is pinned to the version in use."""

import re
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = "conan-assets"
PIN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[0-9][A-Za-z0-9.+!-]*)")
OF_THE_INSTALLER = {"pip", "setuptools", "wheel"}


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [PIN.fullmatch(line) for line in lines if line.strip() and not line.startswith("#")]
    assert all(found), [line for line, pin in zip(lines, found, strict=False) if pin is None]
    return {canonicalize_name(pin["name"]): pin["version"] for pin in found if pin}


def needed(name: str, extras: frozenset[str], seen: dict[str, str]) -> None:
    """Add to ``seen`` the installed version of every package that ``name`` needs on this platform."""
    for text in distribution(name).requires or []:
        requirement = Requirement(text)
        applies = requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras)
        key = canonicalize_name(requirement.name)
        if applies and (key not in seen or requirement.extras):
            is_new = key not in seen
            seen[key] = distribution(key).version
            if is_new or requirement.extras:
                needed(key, frozenset({"", *requirement.extras}), seen)


def test_every_package_that_the_project_needs_is_pinned_to_the_installed_version():
    installed: dict[str, str] = {}
    needed(PROJECT, frozenset({"", "demo", "dev"}), installed)
    assert len(installed) > 50
    pinned = pins()
    names = set(installed) - OF_THE_INSTALLER - {canonicalize_name(PROJECT)}
    assert {name: pinned.get(name) for name in names} == {
        name: installed[name].partition("+")[0] if "+" not in pinned.get(name, "") else installed[name]
        for name in names
    }


def test_the_lint_command_asks_pip_whether_all_requirements_hold():
    recipe = (ROOT / "Makefile").read_text().split("\nlint:")[1].split("\n\n")[0]
    assert "-m pip check" in recipe
