"""YAML files of settings, read so that nothing in them is lost without a word."""

from pathlib import Path
from typing import Any

import yaml


class _EachKeyOnce(yaml.SafeLoader):
    """Refuses a mapping that gives a key twice, of which the last would win."""

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        """Return a mapping as it is written; raise yaml.YAMLError, which names key and line, on a second one."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.MarkedYAMLError(None, None, f"the key {key.value!r} is there twice", key.start_mark)
            seen.add(str(key.value))
        return node


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file; raise OSError, UnicodeDecodeError or yaml.YAMLError where there is none."""
    values = yaml.load(path.read_text(encoding="utf-8"), _EachKeyOnce)
    if not isinstance(values, dict):
        raise yaml.YAMLError("it must be a mapping of settings; run with --json-schema to see them")
    return values
