"""Print the documentation of the Python standard library as JSON lines; run as a script, in an interpreter of its own.

Importing every module of the library is kept out of the caller's process, and what the caller has imported or
changed is kept out of the documentation: ``python -I -S -W ignore python_docs_reader.py``. Only the standard
library is imported here. The same interpreter prints the same lines: sorted, and without memory addresses.
"""

import importlib
import inspect
import json
import os
import pkgutil
import re
import sys
from collections.abc import Iterator
from types import ModuleType

SKIPPED = {
    "antigravity",  # opens a web browser
    "distutils",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "msilib",
    "pydoc_data",
    "test",
    "tests",
    "this",  # prints a poem
    "tkinter",  # absent from many installations, as its relatives
    "turtle",
    "turtledemo",
    "venv",
    "winreg",
}
SIMPLE_DEFAULTS = (bool, int, float, str, bytes, type(None))
SIGNATURE_LINE = re.compile(r"^[\w.]+\s*\(.*")


def public_modules(names: list[str], parent: str = "") -> Iterator[ModuleType]:
    """Yield every public module of ``names`` that imports here, and the public modules inside it, in sorted order."""
    for name in sorted(names):
        if name.startswith("_") or name in SKIPPED:
            continue
        try:
            module = importlib.import_module(parent + name)
        except (ImportError, OSError):
            continue
        yield module
        inner = [found.name for found in pkgutil.iter_modules(getattr(module, "__path__", []))]
        yield from public_modules(inner, f"{parent}{name}.")


def documented(module: ModuleType) -> Iterator[tuple[str, object]]:
    """Yield (name, object) of the module's own public functions and classes, and of the classes' own members."""
    for name, value in _public(module):
        if not _is_at_home(value, module):
            continue
        yield name, value
        if inspect.isclass(value):
            yield from ((f"{name}.{member}", _unwrapped(inner)) for member, inner in _public(value))


def _public(owner: object) -> list[tuple[str, object]]:
    return sorted((item for item in vars(owner).items() if not item[0].startswith("_")), key=lambda item: item[0])


def _unwrapped(member: object) -> object:
    return member.__func__ if isinstance(member, (staticmethod, classmethod)) else member


def _is_at_home(value: object, module: ModuleType) -> bool:
    home = getattr(value, "__module__", None)
    return isinstance(home, str) and home.split(".")[0].lstrip("_") == module.__name__.split(".")[0]


def split_documentation(value: object) -> tuple[str, str] | None:
    """Return (first line, the rest) of an object's own documentation; a signature on the first line joins the rest."""
    text = getattr(value, "__doc__", None)
    if not isinstance(text, str) or not (
        inspect.isroutine(value) or inspect.isclass(value) or isinstance(value, property)
    ):
        return None
    lines = inspect.cleandoc(text).split("\n")
    signatures = []
    while lines and (SIGNATURE_LINE.match(lines[0]) or not lines[0].strip()):
        signatures.append(lines.pop(0))
    if not lines:
        return None
    return lines[0].strip(), "\n".join([*filter(str.strip, signatures), *lines[1:]]).strip()


def signature(value: object) -> str:
    """Return ``(a, b=1)``: parameter names with plain defaults, no annotation, nothing that differs between runs."""
    if not callable(value):
        return ""
    try:
        parameters = inspect.signature(value).parameters.values()
    except (AttributeError, TypeError, ValueError):
        return ""
    plain = [item.replace(annotation=item.empty, default=_shown(item.default)) for item in parameters]
    return str(inspect.Signature(plain))


class _Elided:
    def __repr__(self) -> str:
        return "..."


def _shown(default: object) -> object:
    is_plain = default is inspect.Parameter.empty or type(default) in SIMPLE_DEFAULTS
    is_path = isinstance(default, str) and os.path.isabs(default)
    return default if is_plain and not is_path else _Elided()


def main() -> None:
    """Print one JSON object a documented object: module, name, first line, rest with signature."""
    seen: set[int] = set()
    for module in list(public_modules(sorted(sys.stdlib_module_names))):
        for name, value in documented(module):
            parts = split_documentation(value)
            if parts is None or id(value) in seen:
                continue
            seen.add(id(value))
            first_line, rest = parts
            heading = name.rpartition(".")[2] + signature(value)
            row = {
                "module": module.__name__,
                "name": name,
                "first_line": first_line,
                "rest": f"{heading}\n\n{rest}".strip(),
            }
            sys.stdout.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
