"""The leaderboard as a picture: main metrics over the rounds."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from conan_assets.artifacts import atomic_path
from conan_assets.evaluation.leaderboard import BM25_MODEL, LeaderboardEntry

LINES_AT_MOST = 10
BAR_SHIFT = 0.015
"""So that the bars of several tasks in a round do not hide one another."""


def plot_leaderboard(entries: Sequence[LeaderboardEntry], path: Path) -> None:
    """Write a PNG with a line per task and split over the rounds, 95 % intervals as bars, BM25 as a dashed line."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    rounds = list(dict.fromkeys(entry.round for entry in entries))
    tasks = list(dict.fromkeys(_task(row) for entry in entries for row in entry.report["rows"] if row["main"]))
    for number, task in enumerate(tasks[:LINES_AT_MOST]):
        _draw(axes, entries, rounds, task, number)
    if len(tasks) > LINES_AT_MOST:
        axes.set_title(f"the first {LINES_AT_MOST} of {len(tasks)} tasks; the table has all", fontsize=9)
    axes.set_xticks(range(len(rounds)), rounds)
    axes.set_ylabel("points")
    axes.grid(alpha=0.3)
    if tasks:
        figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _task(row: dict[str, str]) -> str:
    return " ".join(dict.fromkeys((row["suite"], row["task"], row["split"], row["metric"])))


def _draw(axes: Axes, entries: Sequence[LeaderboardEntry], rounds: list[str], task: str, number: int) -> None:
    colour = f"C{number}"
    scores = [(entry, row) for entry in entries for row in entry.report["rows"] if row["main"] and _task(row) == task]
    checkpoints = [(rounds.index(entry.round), row) for entry, row in scores if entry.model != BM25_MODEL]
    places = [place + BAR_SHIFT * number for place, _ in checkpoints]
    values = [100 * row["value"] for _, row in checkpoints]
    below = [value - 100 * (row["low"] or row["value"]) for value, (_, row) in zip(values, checkpoints, strict=True)]
    above = [100 * (row["high"] or row["value"]) - value for value, (_, row) in zip(values, checkpoints, strict=True)]
    bars = [[max(size, 0.0) for size in sizes] for sizes in (below, above)]
    axes.errorbar(places, values, yerr=bars, marker="o", capsize=3, color=colour, label=task)
    for value in (100 * row["value"] for entry, row in scores if entry.model == BM25_MODEL):
        axes.axhline(value, linestyle="--", linewidth=1, color=colour, label=f"BM25, {task}")
