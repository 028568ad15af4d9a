"""What is installed is what was audited: every requirement, and theirs in turn, is pinned to the version in use."""

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distribution
from pathlib import Path
from typing import ClassVar

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from conan_assets_tests.audit import PINS, audit

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PROJECT = "conan-assets"
PIN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[0-9][A-Za-z0-9.+!-]*)")
OF_THE_INSTALLER = {"pip", "setuptools", "wheel"}


def pins() -> dict[str, str]:
    lines = PINS.read_text().splitlines()
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


class _Advisories(BaseHTTPRequestHandler):
    """OSV's protocol with one advisory, about jinja2 before 3.1.6."""

    fixed: ClassVar[list[dict[str, str]]] = [{"fixed": "3.1.6"}]

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        package, version = asked["package"], Version(asked["version"])
        known = package["name"] == "jinja2" and version < Version("3.1.6")
        ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, *self.fixed]}]
        advisory = {"id": "PYSEC-1", "summary": "Sandbox escape", "affected": [{"package": package, "ranges": ranges}]}
        body = json.dumps({"vulns": [advisory]} if known else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class _WithoutFix(_Advisories):
    fixed: ClassVar[list[dict[str, str]]] = []


class _OutOfOrder(_Advisories):
    def do_POST(self) -> None:
        self.send_error(503)


@contextlib.contextmanager
def service(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/query"
        server.shutdown()
        thread.join()


@pytest.fixture
def old_pins(tmp_path):
    path = tmp_path / "pins.txt"
    path.write_text("six==1.17.0\njinja2==3.1.0\n")
    return path


def test_a_pin_with_a_fixed_vulnerability_fails_the_audit_and_is_named(old_pins, capsys):
    with service(_Advisories) as url:
        assert audit(old_pins, url) == 1
    assert "jinja2==3.1.0: PYSEC-1, fixed in 3.1.6: Sandbox escape" in capsys.readouterr().out


def test_a_vulnerability_that_no_version_fixes_is_printed_and_does_not_fail_the_audit(old_pins, capsys):
    with service(_WithoutFix) as url:
        assert audit(old_pins, url) == 0
    assert "fixed in no version yet" in capsys.readouterr().out


def test_every_pin_of_the_project_is_asked_about(capsys):
    with service(_Advisories) as url:
        assert audit(PINS, url) == 0
    assert "0 advisories" in capsys.readouterr().out


def test_without_a_service_the_audit_says_that_nothing_was_checked(old_pins, capsys):
    with service(_Advisories) as url:
        pass
    assert audit(old_pins, url) == 0
    assert "were not checked" in capsys.readouterr().out


def test_a_service_that_is_out_of_order_fails_the_audit(old_pins):
    with service(_OutOfOrder) as url, pytest.raises(SystemExit, match="were not checked"):
        audit(old_pins, url)


def test_pins_that_cannot_be_read_fail_the_audit(tmp_path):
    with service(_Advisories) as url, pytest.raises(SystemExit, match=r"(?s)were not checked.*pins\.txt"):
        audit(tmp_path / "pins.txt", url)


def test_the_lint_command_asks_pip_and_the_advisory_service():
    recipe = (ROOT / "Makefile").read_text().split("\nlint:")[1].split("\n\n")[0]
    assert "-m pip check" in recipe
    assert "-m conan_assets_tests.audit" in recipe
