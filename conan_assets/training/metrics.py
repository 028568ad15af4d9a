"""A run's ``metrics.jsonl``: one line of JSON per optimizer step."""

import json
from collections.abc import Mapping
from pathlib import Path

from conan_assets.files import atomic_path

METRICS = "metrics.jsonl"

Record = Mapping[str, float]


class MetricsFile:
    """Appends a line per step; a resumed run first drops what was written after its saved state.

    Attributes
    ----------
    lines
        Lines that are there, which is the number of steps over all stages.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / METRICS
        self.lines = 0

    def rewind(self, stage: int, step: int) -> None:
        """Keep the lines up to ``step`` of ``stage``."""
        kept = [
            record for record in read_metrics(self._path.parent) if (record["stage"], record["step"]) <= (stage, step)
        ]
        with atomic_path(self._path) as temporary:
            temporary.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
        self.lines = len(kept)

    def append(self, record: Record) -> None:
        """Write one line."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        self.lines += 1


def read_metrics(directory: Path) -> list[dict[str, float]]:
    """Return a run's metrics, a record per step; a last line that was cut off by a kill is left out."""
    path = directory / METRICS
    lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
    return [json.loads(line) for line in lines[:-1]]
