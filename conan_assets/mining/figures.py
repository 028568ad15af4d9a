"""Score histograms as PNG files."""

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from conan_assets.files import atomic_path
from conan_assets.search.ranking import scores_of, scores_to_integers

BINS = 50
PANELS_PER_ROW = 2
SHIFT = 13


class Histogram:
    """How often scores occur, which are told apart to 0.05 % of themselves, whatever their range."""

    def __init__(self) -> None:
        self._counts = np.zeros(1 << (32 - SHIFT), np.uint32)

    def add(self, scores: np.ndarray) -> None:
        """Count float32 ``scores``, of any shape; those not finite are left out."""
        places = scores_to_integers(scores[np.isfinite(scores)].astype(np.float32)) >> SHIFT
        self._counts += np.bincount(places + len(self._counts) // 2, minlength=len(self._counts)).astype(np.uint32)

    def values(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the different scores in ascending order, float32, and the count of each."""
        places = np.flatnonzero(self._counts)
        middle = (places - len(self._counts) // 2 << SHIFT) + (1 << SHIFT - 1)
        return scores_of(middle << 32), self._counts[places]


class ScorePanels:
    """Histograms of a mined set by teacher; teachers that score alike, as the base model and itself, share them."""

    def __init__(self) -> None:
        self._panels: dict[str, dict[str, Histogram]] = {}
        self._unlike: set[tuple[str, str]] = set()

    def add(self, negatives: pl.DataFrame, positives: Mapping[str, np.ndarray]) -> None:
        """Count the scores of a part of a negatives table, and those of its queries' positives by teacher."""
        is_kept = (negatives["verdict"] == "kept").to_numpy()
        scores = {name: negatives[f"{name}_score"].to_numpy() for name in positives}
        for name, candidates in scores.items():
            kinds = {"positives": positives[name], "candidates": candidates, "kept": candidates[is_kept]}
            panel = self._panels.setdefault(name, {kind: Histogram() for kind in kinds})
            for kind, values in kinds.items():
                panel[kind].add(values)
        for one, other in itertools.combinations(scores, 2):
            if not np.allclose(scores[one], scores[other]):
                self._unlike.add((one, other))

    def panels(self) -> dict[str, dict[str, Histogram]]:
        """Return the histograms by kind by the names of the teachers that have them."""
        alike: dict[str, list[str]] = {}
        for name in self._panels:
            first = next((other for other in alike if (other, name) not in self._unlike), name)
            alike.setdefault(first, []).append(name)
        return {" = ".join(names): self._panels[first] for first, names in alike.items()}


def plot_histograms(panels: Mapping[str, Mapping[str, Histogram]], path: Path) -> str:
    """Draw one panel per teacher with a histogram per kind of document; return the file's name.

    Parameters
    ----------
    panels
        Histograms of scores by kind ("positives", "kept", ...) by teacher.
    path
        PNG file to write.
    """
    from matplotlib.figure import Figure

    columns = min(len(panels), PANELS_PER_ROW)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.8 * columns, 3.4 * rows), layout="constrained")
    for position, (teacher, kinds) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(rows, columns, position)
        values = {kind: histogram.values() for kind, histogram in kinds.items()}
        every = np.concatenate([scores for scores, _ in values.values()] or [np.zeros(1)])
        low, high = (float(every.min()), float(every.max())) if every.size else (0.0, 1.0)
        bins = np.linspace(low, high if high > low else low + 1, BINS + 1).tolist()
        for kind, (scores, counts) in values.items():
            weights = counts * (100 / max(counts.sum(), 1))
            label = f"{kind} ({counts.sum():,})"
            axes.hist(scores, bins=bins, weights=weights, histtype="stepfilled", alpha=0.55, label=label)
        axes.set(title=teacher, xlabel="score", ylabel="% of its kind")
        axes.legend(fontsize="small", loc="upper right")
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        figure.savefig(file, format="png", dpi=110)
    return path.name
