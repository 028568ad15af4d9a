"""The sections of a profile and their JSON schema: what is accepted at a place, and why a profile was refused."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

Schema = dict[str, Any]
Location = tuple[int | str, ...]

SHOWN = (str, int, float, list, type(None))
"""What is shown beside its problem; a whole section is not."""


class Section(BaseModel):
    """Settings without unknown keys, which nobody changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def explain(error: ValidationError, schema: Schema, values: Mapping[str, object]) -> list[str]:
    """Return a line for each key of ``values`` that is wrong: where it stands, and what is accepted there."""
    problems = error.errors()
    wrong = [problem["loc"] for problem in problems]
    lines = []
    for problem in problems:
        location, message = problem["loc"], problem["msg"].removeprefix("Value error, ")
        if any(other[: len(location)] == location and other != location for other in wrong):
            continue  # pydantic counts the items that are right, and finds too few where one is wrong
        if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            message = f"unknown key; accepted here: {', '.join(_keys_at(schema, location[:-1]))}"
        elif problem["type"] == "union_tag_not_found":
            kinds = ", ".join(_kinds_at(schema, location))
            message = f"the key {problem['ctx']['discriminator']} is missing; it chooses one of {kinds}"
        elif problem["type"] != "missing" and isinstance(problem["input"], SHOWN):
            message += f", not {problem['input']!r}"
        lines.append(f"{_as_written(location, values) or 'profile'}: {message}")
    return lines


def _as_written(location: Location, values: Mapping[str, object]) -> str:
    """Return a location with dots, without the number of an only stage that the profile gives outside a list."""
    first, *rest = location or ("",)
    alone = rest[:1] == [0] and not isinstance(values.get(str(first)), list)
    return ".".join(str(part) for part in (first, *rest[1 if alone else 0 :]))


def _keys_at(schema: Schema, location: Location) -> list[str]:
    """Return the keys that ``schema`` accepts at ``location``, in alphabetical order."""
    return sorted({key for variant in _schemas_at(schema, location) for key in variant.get("properties", {})})


def _kinds_at(schema: Schema, location: Location) -> list[str]:
    """Return the values of ``kind`` and its like that choose between the variants at ``location``."""
    return [
        value["const"]
        for variant in _schemas_at(schema, location)
        for value in variant.get("properties", {}).values()
        if "const" in value
    ]


def variants_of(schema: Schema, node: Schema) -> list[Schema]:
    """Return what a node accepts, each alternative on its own, with references followed."""
    if "$ref" in node:
        return variants_of(schema, schema["$defs"][node["$ref"].rsplit("/", 1)[-1]])
    options = node.get("oneOf") or node.get("anyOf")
    return [variant for option in options for variant in variants_of(schema, option)] if options else [node]


def _schemas_at(schema: Schema, location: Location) -> list[Schema]:
    nodes = [schema]
    for part in location:
        nodes = [child for node in nodes for child in _children(schema, node, part)]
    return [variant for node in nodes for variant in variants_of(schema, node)]


def _children(schema: Schema, node: Schema, part: int | str) -> list[Schema]:
    """Return the sub-schemas one step down: a property, an item, a mapping's value, or the variant tagged ``part``."""
    found = []
    for variant in variants_of(schema, node):
        if part in variant.get("properties", {}):
            found.append(variant["properties"][part])
        elif "patternProperties" in variant:
            found.extend(variant["patternProperties"].values())
        elif isinstance(variant.get("additionalProperties"), dict):
            found.append(variant["additionalProperties"])
        elif isinstance(part, int) and "items" in variant:
            found.append(variant["items"])
        elif any(value.get("const") == part for value in variant.get("properties", {}).values()):
            found.append(variant)
    return found
