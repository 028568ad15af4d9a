"""The JSON schema of a profile, looked at by location: which keys and which kinds are accepted there."""

from typing import Any

Schema = dict[str, Any]
Location = tuple[int | str, ...]


def keys_at(schema: Schema, location: Location) -> list[str]:
    """Return the keys that ``schema`` accepts at ``location``, in alphabetical order."""
    return sorted({key for variant in _schemas_at(schema, location) for key in variant.get("properties", {})})


def kinds_at(schema: Schema, location: Location) -> list[str]:
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
