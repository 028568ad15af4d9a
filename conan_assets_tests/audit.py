"""Ask the advisory service OSV about every pinned package: ``python -m conan_assets_tests.audit``.

Fails if a pinned version has a known vulnerability that a newer version fixes. An advisory without a fixed version is
printed. Where no service can be reached, nothing is known, and the output says so. ``$OSV_URL`` names a mirror.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

PINS = Path(__file__).parents[1] / "constraints.txt"
OSV_URL = "https://api.osv.dev/v1/query"
OPTIONS = [
    "--no-deps",
    "--disable-pip",
    "--format",
    "json",
    "--progress-spinner",
    "off",
    "--vulnerability-service",
    "osv",
]


def advisories(pins: Path, url: str) -> list[tuple[str, dict]] | None:
    """Return ``(package==version, advisory)`` of each known vulnerability, or None if no service answered."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(pins), *OPTIONS, "--osv-url", url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        return None
    packages = json.loads(done.stdout)["dependencies"]
    if any("skip_reason" in package for package in packages):
        return None
    return [
        (f"{package['name']}=={package['version']}", advisory) for package in packages for advisory in package["vulns"]
    ]


def audit(pins: Path, url: str) -> int:
    """Print every advisory about a pin and return the exit code."""
    found = advisories(pins, url)
    if found is None:
        print(f"No advisory service answered at {url}: the pins were not checked for known vulnerabilities.")
        return 0
    for package, advisory in found:
        fixed = ", ".join(advisory["fix_versions"]) or "no version yet"
        print(f"{package}: {advisory['id']}, fixed in {fixed}: {advisory['description'][:200]}")
    print(f"{len(found)} advisories about the pins of {pins.name}.")
    return int(any(advisory["fix_versions"] for _, advisory in found))


if __name__ == "__main__":
    sys.exit(audit(PINS, os.environ.get("OSV_URL", OSV_URL)))
