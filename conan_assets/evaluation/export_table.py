"""The forms of a release as a table and a picture of quality against cost, by which one is chosen."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from matplotlib.figure import Figure

from conan_assets.evaluation.export_rows import WHOLE, ExportRow
from conan_assets.evaluation.leaderboard_table import Section
from conan_assets.evaluation.settings import DevMetric

NOTE = (
    "{metric} in points on suite {suite}. Texts per second were measured in turn, on this machine alone. Vectors of "
    "int8 and binary are those of documents; queries stay whole."
)


def exports_table(rows: Sequence[ExportRow], metric: DevMetric) -> Section:
    """Return the forms as a section of the leaderboard, in points, with what each loses against the release."""
    splits = list(rows[0].scores)
    head = ["model", "vectors", "MB", "bytes a vector", "texts/s", "speed", *splits, f"against {WHOLE}, {metric.split}"]
    lines = []
    for row in rows:
        fields = asdict(row)
        scores = [f"{100 * fields['scores'][split]:.2f}" for split in splits]
        lost = f"{100 * (row.scores[metric.split] - rows[0].scores[metric.split]):+.2f}"
        costs = [f"{row.megabytes:.1f}", str(row.bytes_per_vector), f"{row.texts_per_second:.0f}", f"{row.speed:.2f}x"]
        lines.append([row.model, row.vectors, *costs, *scores, lost])
    return Section(
        "Exports of the released model", [head, *lines], NOTE.format(metric=metric.metric, suite=metric.suite)
    )


def plot_exports(rows: Sequence[ExportRow], metric: DevMetric, path: Path) -> None:
    """Write a PNG of quality against cost: texts per second on the left, bytes per vector on the right."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    by_model = [row for row in rows if row.vectors == WHOLE]
    by_vectors = [row for row in rows if row.model == WHOLE]
    for axes, shown, cost, label in (
        (left, by_model, "texts_per_second", "texts per second on this machine"),
        (right, by_vectors, "bytes_per_vector", "bytes per vector"),
    ):
        for number, row in enumerate(shown):
            place = (getattr(row, cost), 100 * row.scores[metric.split])
            axes.plot(*place, marker="o")
            name = row.model if axes is left else row.vectors
            beside = (4, -11 if number % 2 else 4)
            axes.annotate(name, place, xytext=beside, textcoords="offset points", fontsize=8)
        axes.set_xscale("log")
        costs = sorted({getattr(row, cost) for row in shown})
        axes.set_xticks(costs, [f"{value:.0f}" for value in costs])
        axes.minorticks_off()
        axes.margins(0.2)
        axes.set_xlabel(label)
        axes.grid(alpha=0.3)
    left.set_ylabel(f"{metric.metric}, {metric.split}, points")
    figure.savefig(path, format="png", dpi=120)
