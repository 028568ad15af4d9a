"""What came out of a comparison: differences with intervals over queries and seeds, a table and a picture."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from conan_assets.bucket.working_copy import upload
from conan_assets.compare.run import QUERY, Run
from conan_assets.evaluation.intervals import CONFIDENCE, SEED
from conan_assets.files import atomic_path
from conan_assets.markdown import as_table

RESAMPLES = 2_000


class Line(NamedTuple):
    """A way on one split, in points from 0 to 100.

    Attributes
    ----------
    value
        The mean over queries and seeds.
    difference, low, high
        How much that is above the first way's, and its 95 % interval; zeros for the first way itself.
    seeds, queries
        How many of them these are means of.
    steps, seconds
        Optimizer steps, and mean seconds of mining and training.
    """

    way: str
    split: str
    value: float
    difference: float
    low: float
    high: float
    seeds: int
    queries: int
    steps: int
    seconds: float


def compared(runs: Sequence[Run], reference: str) -> list[Line]:
    """Return a line for each way and split, in the order of the runs."""
    names = list(dict.fromkeys(run.way for run in runs))
    splits = runs[0].scores["split"].unique(maintain_order=True).to_list()
    return [_line(runs, name, split, reference) for split in splits for name in names]


def _line(runs: Sequence[Run], name: str, split: str, reference: str) -> Line:
    ours = [run for run in runs if run.way == name]
    values, theirs = _values(runs, name, split), _values(runs, reference, split)
    paired = min(len(values), len(theirs))
    gains = values - theirs if len(values) == 1 else values[:paired] - theirs[:paired]
    low, high = paired_interval(gains)
    return Line(
        way=name,
        split=split,
        value=float(values.mean()),
        difference=float(gains.mean()),
        low=low,
        high=high,
        seeds=len(ours),
        queries=values.shape[1],
        steps=ours[0].steps,
        seconds=float(np.mean([run.seconds for run in ours])),
    )


def _values(runs: Sequence[Run], name: str, split: str) -> np.ndarray:
    """Return a way's scores in points, shape (seeds, queries), queries in one order for all ways."""
    frames = [run.scores.filter(pl.col("split") == split).sort(QUERY) for run in runs if run.way == name]
    return 100 * np.array([frame["value"].to_numpy() for frame in frames])


def paired_interval(gains: np.ndarray) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean of ``gains`` (seeds, queries), both drawn with replacement."""
    generator = np.random.default_rng(SEED)
    seeds, queries = gains.shape
    means = np.empty(RESAMPLES)
    for row in range(RESAMPLES):
        of_seeds = gains[generator.integers(seeds, size=seeds)].mean(axis=0)
        means[row] = of_seeds[generator.integers(queries, size=queries)].mean()
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def write_comparison(runs: Sequence[Run], reference: str, metric: str, folder: Path) -> str:
    """Write ``comparison.json``, ``.md`` and ``.png`` into ``folder`` and return the table as Markdown."""
    lines = compared(runs, reference)
    table = as_markdown(lines, reference, metric)
    figures = {"differences": [line._asdict() for line in lines], "runs": [each_run(run) for run in runs]}
    for name, text in (("json", json.dumps(figures, indent=1)), ("md", table)):
        with atomic_path(folder / f"comparison.{name}") as path:
            path.write_text(text + "\n", encoding="utf-8")
    _plot(lines, reference, metric, folder / "comparison.png")
    upload(*(folder / f"comparison.{kind}" for kind in ("json", "md", "png")))
    return table


def each_run(run: Run) -> dict[str, object]:
    """Return what was trained, what it cost, and its score on every split, in points."""
    means = run.scores.group_by("split", maintain_order=True).agg(100 * pl.col("value").mean())
    cost = {"rounds": run.rounds, "steps": run.steps, "seconds": round(run.seconds, 1)}
    return {"way": run.way, "seed": run.seed, **cost, **dict(means.iter_rows())}


def as_markdown(lines: Sequence[Line], reference: str, metric: str) -> str:
    """Return a row per way: its score and its difference on every split, steps, seconds and seeds."""
    splits = list(dict.fromkeys(line.split for line in lines))
    head = ["", *(f"{split} {what}" for split in splits for what in (metric, f"above {reference}"))]
    rows = []
    for way in dict.fromkeys(line.way for line in lines):
        of_way = [line for line in lines if line.way == way]
        cells = [cell for line in of_way for cell in (f"{line.value:.2f}", "" if way == reference else _shown(line))]
        first = of_way[0]
        cost = [str(first.steps), f"{first.seconds:.0f}", str(first.seeds)] if first.steps else ["", "", ""]
        rows.append([way, *cells, *cost])
    return as_table([*head, "steps", "seconds", "seeds"], rows)


def _shown(line: Line) -> str:
    return f"{line.difference:+.2f} ({line.low:+.2f} to {line.high:+.2f})"


def _plot(lines: Sequence[Line], reference: str, metric: str, path: Path) -> None:
    """Draw each way's difference with its interval, a panel for each split."""
    splits = list(dict.fromkeys(line.split for line in lines))
    shown = [line for line in lines if line.way != reference]
    ways = list(dict.fromkeys(line.way for line in shown))
    figure = Figure((5.0 * len(splits), 1.2 + 0.35 * len(ways)), layout="constrained")
    for axes, split in zip(figure.subplots(1, len(splits), squeeze=False, sharey=True)[0], splits, strict=True):
        for line in (line for line in shown if line.split == split):
            bars = [[line.difference - line.low], [line.high - line.difference]]
            axes.errorbar([line.difference], [ways.index(line.way)], xerr=bars, marker="o", capsize=3, color="C0")
        axes.axvline(0, linestyle="--", linewidth=1, color="grey")
        axes.set(title=split, xlabel=f"{metric}, points above {reference}", yticks=range(len(ways)), yticklabels=ways)
        axes.grid(alpha=0.3)
    axes.invert_yaxis()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
