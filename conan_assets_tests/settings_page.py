"""Write docs/settings.md, a table of every setting, from the schema of a profile: ``make docs``."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from conan_assets.schema import Schema, variants_of
from conan_assets.settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
INTRODUCTION = """# Settings

Every key of a profile, as `python -m conan_assets.settings --json-schema` describes it; `make docs` writes this page
from that schema. A is Conan-embedding (arXiv 2408.15710), A2 Conan-embedding-v2 (arXiv 2509.12892), B NV-Retriever
(arXiv 2407.15831). NAME stands for a name that you choose.
"""
LONGEST_DEFAULT = 60
BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
WORDS = {"string": "text", "object": "mapping", "boolean": "`true`, `false`"}


@dataclass
class Section:
    """What is accepted at a place: one model, or several that a key chooses between; and where else it is."""

    place: str
    models: list[Schema]
    also_at: list[str] = field(default_factory=list)


Sections = dict[str, Section]
"""By the names of their models, in the order of the page."""


def settings_page() -> str:
    """Return the page as the schema says it should be."""
    schema = Settings.model_json_schema()
    sections: Sections = {}
    _collect("", [schema], schema, sections)
    return "\n".join([INTRODUCTION, *(_render(section, schema, sections) for section in sections.values())])


def _collect(place: str, models: list[Schema], schema: Schema, sections: Sections) -> None:
    """Add the section of ``models`` and those of the settings in them, or say that a section is at ``place`` too."""
    name = _name(models)
    if name in sections:
        sections[name].also_at.append(place)
        return
    sections[name] = Section(place, models)
    properties = {key: value for model in models for key, value in model["properties"].items()}
    for key, value in properties.items():
        suffix, inner = _models_in(value, schema)
        if inner:
            _collect(f"{place}.{key}".lstrip(".") + suffix, inner, schema, sections)


def _models_in(node: Schema, schema: Schema) -> tuple[str, list[Schema]]:
    """Return the models that a value holds, itself, in a list or by name, and what their place adds to its own."""
    variants = variants_of(schema, node)
    models = [variant for variant in variants if "properties" in variant]
    if models:
        return "", models
    for variant in variants:
        mapped = [*variant.get("patternProperties", {}).values(), variant.get("additionalProperties")][0]
        if isinstance(mapped, dict):
            suffix, models = _models_in(mapped, schema)
            return f".NAME{suffix}", models
        if "items" in variant:
            return _models_in(variant["items"], schema)
    return "", []


def _render(section: Section, schema: Schema, sections: Sections) -> str:
    place, models = section.place, section.models
    first, *others = (model["properties"] for model in models)
    shared = {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
    parts = [f"## `{place}`\n"] if place else []
    parts += [_summary(models[0])] if len(models) == 1 and place else []
    parts += [f"Also at {', '.join(f'`{other}`' for other in section.also_at)}.\n"] if section.also_at else []
    parts += [_table(models[0], set(shared), schema, sections)]
    for model in models if others else ():
        tag = next(f"{key}: {value['const']}" for key, value in model["properties"].items() if "const" in value)
        own = set(model["properties"]) - set(shared)
        parts += [f"### `{place}`, `{tag}`\n", _summary(model), _table(model, own, schema, sections)]
    return "\n".join(part for part in parts if part)


def _table(model: Schema, keys: set[str], schema: Schema, sections: Sections) -> str:
    rows = [
        (f"`{key}`", _accepts(value, schema, sections), _default(key, model), value.get("description", ""))
        for key, value in model["properties"].items()
        if key in keys and "const" not in value
    ]
    if not rows:
        return ""
    lines = ["| key | accepts | default | |", "| --- | --- | --- | --- |"]
    lines += ["| " + " | ".join(cell.replace("|", r"\|").replace("``", "`") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _accepts(value: Schema, schema: Schema, sections: Sections) -> str:
    """Return what a value may be, in words, with a link where it has a section of its own."""
    variants = variants_of(schema, value)
    _, models = _models_in(value, schema)
    if not models:
        return ", ".join(dict.fromkeys(_words(variant) for variant in variants))
    place = sections[_name(models)].place
    link = f"[`{place}`](#{place.lower().replace('.', '')})"
    return f"{link}, null" if {"type": "null"} in variants else link


def _words(node: Schema) -> str:
    if "enum" in node:
        return ", ".join(f"`{value}`" for value in node["enum"])
    if "items" in node:
        return f"list of {_words(node['items'])}"
    bounds = ", ".join(f"{word} {node[bound]:g}" for bound, word in BOUNDS.items() if bound in node)
    kind = node.get("type", "text")
    return f"{WORDS.get(kind, kind)} {bounds}".strip()


def _default(key: str, model: Schema) -> str:
    """Return a default as JSON; nothing for null, and for what is long or has a section that says it."""
    if key in model.get("required", ()):
        return "required"
    default = model["properties"][key].get("default")
    text = default if default and isinstance(default, str) else json.dumps(default, ensure_ascii=False)
    return "" if default is None or isinstance(default, dict) or len(text) > LONGEST_DEFAULT else f"`{text}`"


def _name(models: list[Schema]) -> str:
    return " ".join(model["title"] for model in models)


def _summary(model: Schema) -> str:
    paragraph = model.get("description", "").split("\n\n")[0]
    return " ".join(paragraph.split()).replace("``", "`") + "\n"


if __name__ == "__main__":
    PAGE.write_text(settings_page(), encoding="utf-8")
