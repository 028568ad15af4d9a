"""Ask the advisory service OSV about every pinned package: ``python -m conan_assets_tests.audit``.

Fails if a pinned version has a known vulnerability that a newer version fixes, or if a package was not checked.
An advisory without a fixed version is printed. Where there is no network nothing is known, and the output says so.
``$OSV_URL`` names a mirror.
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


UNREACHABLE = ("ConnectionError", "ConnectTimeout", "Could not connect")


def advisories(pins: Path, url: str) -> list[tuple[str, dict]] | None:
    """Return ``(package==version, advisory)`` of each known vulnerability, or None if the service cannot be reached."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(pins), *OPTIONS, "--osv-url", url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        if any(name in done.stderr for name in UNREACHABLE):
            return None
        raise SystemExit(f"pip-audit failed, so that the pins were not checked:\n{done.stderr}")
    packages = json.loads(done.stdout)["dependencies"]
    if skipped := [package["skip_reason"] for package in packages if "skip_reason" in package]:
        raise SystemExit("packages were not checked:\n" + "\n".join(skipped))
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
