"""Score histograms as PNG files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from conan_assets.files import atomic_path

BINS = 50
PANELS_PER_ROW = 2


def plot_histograms(panels: Mapping[str, Mapping[str, np.ndarray]], path: Path) -> str:
    """Draw one panel per teacher with a histogram per kind of document; return the file's name.

    Parameters
    ----------
    panels
        Scores by kind ("positives", "kept", ...) by teacher.
    path
        PNG file to write.
    """
    from matplotlib.figure import Figure

    columns = min(len(panels), PANELS_PER_ROW)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.8 * columns, 3.4 * rows), layout="constrained")
    for position, (teacher, kinds) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(rows, columns, position)
        finite = {kind: scores[np.isfinite(scores)] for kind, scores in kinds.items()}
        every = np.concatenate(list(finite.values()) or [np.zeros(1)])
        low, high = (float(every.min()), float(every.max())) if every.size else (0.0, 1.0)
        bins = np.linspace(low, high if high > low else low + 1, BINS + 1).tolist()
        for kind, scores in finite.items():
            weights = np.full(len(scores), 100 / max(len(scores), 1))
            label = f"{kind} ({len(scores):,})"
            axes.hist(scores, bins=bins, weights=weights, histtype="stepfilled", alpha=0.55, label=label)
        axes.set(title=teacher, xlabel="score", ylabel="% of its kind")
        axes.legend(fontsize="small", loc="upper right")
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        figure.savefig(file, format="png", dpi=110)
    return path.name
