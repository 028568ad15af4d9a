"""What is compared: a YAML file of named ways, each a few settings that differ from the profile's."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator

from conan_assets.schema import Section
from conan_assets.settings import Settings, SettingsError, load_settings
from conan_assets.settings.yaml_files import read_yaml

WAYS = Path(__file__).parent / "ways"
MANY_VERSIONS = 10_000
"""So that no way's checkpoint is pruned by another's."""

SENTENCE_TRANSFORMERS = "sentence_transformers"
Overrides = dict[str, Any]


class Comparison(Section):
    """Ways of training that are compared, the first being the one that the others are held against."""

    steps: int = Field(default=96, ge=1, description="Optimizer steps of every way, shared among its rounds.")
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0, 1, 2), min_length=1)
    ways: dict[str, Literal["sentence_transformers"] | Overrides] = Field(
        min_length=2,
        description="By name: settings that differ from the profile's, or 'sentence_transformers' for its miner with "
        "relative_margin 0.05, its cached loss and its trainer.",
    )

    @field_validator("ways")
    @classmethod
    def _budget_is_not_overridden(cls, ways: dict[str, Any]) -> dict[str, Any]:
        for name, overrides in ways.items():
            training = overrides.get("training", {}) if isinstance(overrides, dict) else {}
            for key in {"max_steps", "epochs", "seed"} & set(training):
                raise ValueError(
                    f"the way {name!r} sets training.{key}, which steps and seeds of the comparison decide"
                )
        return ways


def load_comparison(source: str, changes: Overrides) -> Comparison:
    """Return the comparison of ``source``, a shipped name or a path to a YAML file, with ``changes``.

    Raises
    ------
    SettingsError
        It cannot be read, or something in it is wrong.
    """
    shipped = WAYS / f"{source}.yaml"
    path = shipped if shipped.is_file() else Path(source).expanduser()
    try:
        return Comparison.model_validate(overridden(read_yaml(path), changes))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        names = ", ".join(sorted(file.stem for file in WAYS.glob("*.yaml")))
        raise SettingsError(f"the ways {source!r} cannot be read ({error}); shipped are {names}") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors())
        raise SettingsError(f"the ways {source!r} are wrong: {problems}") from None


def programme(profile: str | None, name: str, way: str | Overrides, steps: int, seed: int, home: Path) -> Settings:
    """Return a way as a programme of ``steps`` optimizer steps in all, equally shared among its rounds."""
    overrides = {} if isinstance(way, str) else way
    try:
        settings = load_settings(profile, change=lambda values: overridden(_one_stage(values), overrides))
    except SettingsError as error:
        raise SettingsError(f"the way {name!r}: {error}") from None
    if len(settings.training) > 1:
        raise SettingsError(f"the profile {profile!r} trains in {len(settings.training)} stages; give one with one")
    if steps < settings.rounds:
        raise SettingsError(f"the way {name!r} has {settings.rounds} rounds and {steps} steps: give one step a round")
    stage = replace(settings.training[0], epochs=steps, max_steps=steps // settings.rounds, seed=seed)
    changes = {
        "training": (stage,),
        "mining": settings.mining.model_copy(update={"seed": seed}),
        "home": home,
        "keep_versions": MANY_VERSIONS,
    }
    return settings.model_copy(update=changes)


def _one_stage(values: Overrides) -> Overrides:
    """Return a profile whose list of a single stage of training is that stage, which overrides then go into."""
    training = values.get("training")
    return {**values, "training": training[0]} if isinstance(training, list) and len(training) == 1 else values


def overridden(values: Overrides, overrides: Overrides) -> Overrides:
    """Return ``values`` with those of ``overrides`` put in: mappings key by key, anything else as a whole."""
    changed = dict(values)
    for key, value in overrides.items():
        before = values.get(key)
        if isinstance(before, dict) and isinstance(value, dict):
            value = overridden(before, value)
        changed[key] = value
    return changed
