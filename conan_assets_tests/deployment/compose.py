"""What deploy/compose.yaml says, read as docker compose reads it."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from conan_assets_tests.processes import ROOT

DEPLOY = ROOT / "deploy"
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<operator>[-?])(?P<word>[^}]*))?\}")


def load_compose(environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the compose file's content with its variables taken from ``environment``.

    Raises
    ------
    KeyError
        A variable without a default is not set.
    """
    return _interpolated(yaml.safe_load((DEPLOY / "compose.yaml").read_text()), environment)


def _interpolated(node: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _interpolated(value, environment) for key, value in node.items()}
    if isinstance(node, list):
        return [_interpolated(value, environment) for value in node]
    if isinstance(node, str):
        return VARIABLE.sub(lambda match: _value(match, environment), node)
    return node


def _value(match: re.Match[str], environment: Mapping[str, str]) -> str:
    if value := environment.get(match["name"]):
        return value
    if match["operator"] == "-":
        return match["word"]
    raise KeyError(f"{match['name']}: {match['word']}")
