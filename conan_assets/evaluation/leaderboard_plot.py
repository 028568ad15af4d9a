"""The leaderboard as a picture: main metrics over the rounds, a panel per suite."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from conan_assets.evaluation.report import LeaderboardEntry, ScoreRow
from conan_assets.files import atomic_path

NAMED_AT_MOST = 10
INCHES_PER_SUITE = 4.0
BAR_SHIFT = 0.015
"""So that the bars of several tasks in a round do not hide one another."""


def plot_leaderboard(entries: Sequence[LeaderboardEntry], path: Path) -> None:
    """Write a PNG with a panel per suite and in it a line per task, subset and split over the rounds.

    Bars are 95 % intervals, dashed lines the baselines of round 0. Those of more than ten tasks have no names.
    """
    suites = list(dict.fromkeys(row.suite for entry in entries for row in _main_rows(entry)))
    figure = Figure(figsize=(9, INCHES_PER_SUITE * max(len(suites), 1)), layout="constrained")
    panels = figure.subplots(max(len(suites), 1), 1, squeeze=False)[:, 0]
    for panel, suite in zip(panels, suites, strict=False):
        _draw_suite(panel, entries, suite)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _main_rows(entry: LeaderboardEntry) -> list[ScoreRow]:
    return [row for row in entry.report.rows if row.main and not row.part_of]


def _draw_suite(axes: Axes, entries: Sequence[LeaderboardEntry], suite: str) -> None:
    rounds = list(dict.fromkeys(entry.round for entry in entries))
    scores: dict[str, list[tuple[LeaderboardEntry, ScoreRow]]] = {}
    for entry in entries:
        for row in _main_rows(entry):
            if row.suite == suite:
                scores.setdefault(_label(row), []).append((entry, row))
    named = len(scores) <= NAMED_AT_MOST
    for number, (label, scored) in enumerate(scores.items()):
        _draw_task(axes, rounds, scored, number, label if named else "")
    axes.set_title(suite if named else f"{suite}: {len(scores)} tasks, named in the table", fontsize=10)
    axes.set_xticks(range(len(rounds)), rounds)
    axes.set_ylabel("points")
    axes.grid(alpha=0.3)
    if named:
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _label(row: ScoreRow) -> str:
    return f"{row.label} {row.split} {row.metric}"


def _draw_task(
    axes: Axes, rounds: list[str], scored: Sequence[tuple[LeaderboardEntry, ScoreRow]], number: int, label: str
) -> None:
    colour = f"C{number % 10}"
    checkpoints = [(rounds.index(entry.round), row) for entry, row in scored if not entry.baseline]
    places = [place + (BAR_SHIFT * number if label else 0.0) for place, _ in checkpoints]
    values = [100 * row.value for _, row in checkpoints]
    if not label:
        axes.plot(places, values, marker=".", linewidth=0.8, color=colour)
        return
    axes.errorbar(
        places, values, yerr=_bars([row for _, row in checkpoints]), marker="o", capsize=3, color=colour, label=label
    )
    for entry, row in scored:
        if entry.baseline and entry.round == rounds[0]:
            axes.axhline(100 * row.value, linestyle="--", linewidth=1, color=colour, label=f"{entry.model}, {label}")


def _bars(rows: Sequence[ScoreRow]) -> list[list[float]]:
    """Return how far each interval goes below and above its value, in points; 0 where there is none."""
    below = [100 * (row.value - (row.value if row.low is None else row.low)) for row in rows]
    above = [100 * ((row.value if row.high is None else row.high) - row.value) for row in rows]
    return [[max(size, 0.0) for size in sizes] for sizes in (below, above)]
