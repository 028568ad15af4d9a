"""Curves over steps or rounds and bars of counts, as PNG files for reports."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from conan_assets.files import atomic_path

MOST_MARKED_POINTS = 20


def plot_curves(
    path: Path, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], x_label: str, y_label: str
) -> str:
    """Draw each named curve of (x values, y values) and return the file's name."""
    from matplotlib.figure import Figure

    figure = Figure((7.0, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, (x, y) in curves.items():
        axes.plot(x, y, label=name, marker="o" if len(x) <= MOST_MARKED_POINTS else None)
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        figure.savefig(file, format="png", dpi=110)
    return path.name


def plot_bars(path: Path, bars: Mapping[str, float], x_label: str) -> str:
    """Draw each named value as a horizontal bar, the first at the top, and return the file's name."""
    from matplotlib.figure import Figure

    figure = Figure((7.0, 1.0 + 0.25 * len(bars)), layout="constrained")
    axes = figure.subplots()
    drawn = axes.barh(list(bars), list(bars.values()))
    axes.bar_label(drawn, fmt="{:,.0f}", padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.2, y=0.01)
    axes.set(xlabel=x_label)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        figure.savefig(file, format="png", dpi=110)
    return path.name
