"""Range checks of settings."""

from collections.abc import Callable, Iterable
from typing import Any, get_args


def require(settings: object, names: Iterable[str], accepted: str, holds: Callable[[Any], bool]) -> None:
    """Raise ValueError, naming the field and what is ``accepted``, unless ``holds`` is true of every named field."""
    for name in names:
        value = getattr(settings, name)
        if not holds(value):
            raise ValueError(f"{name} is {value!r}; give {accepted}")


def are_weights(weights: Iterable[float]) -> bool:
    """Return whether there is at least one weight, and all are above 0."""
    values = list(weights)
    return bool(values) and all(weight > 0 for weight in values)


def require_choice(settings: object, name: str, choices: object) -> None:
    """Raise ValueError, naming the field and what is accepted, unless it holds one of the values of a Literal."""
    accepted = get_args(choices)
    require(settings, (name,), " or ".join(map(str, accepted)), lambda value: value in accepted)
