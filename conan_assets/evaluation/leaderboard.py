"""All rounds, the base model and BM25 side by side."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from conan_assets.artifacts import atomic_path
from conan_assets.evaluation.leaderboard_plot import plot_leaderboard
from conan_assets.evaluation.leaderboard_table import as_html, as_markdown, sections
from conan_assets.evaluation.metrics import listed_by_split
from conan_assets.evaluation.report import EvaluationReport, LeaderboardEntry, StageCost
from conan_assets.evaluation.settings import EvaluationError

JOINED = ("rows", "means", "beside_published", "differences", "not_run", "data", "seconds", "texts_encoded")
"""What of two reports of one model is put together."""


def build_leaderboard(
    entries: Sequence[LeaderboardEntry], workdir: Path, costs: Sequence[StageCost] = ()
) -> dict[str, Any]:
    """Write ``leaderboard.json``, ``.md``, ``.html`` and ``.png`` into ``workdir`` and return the report.

    ``leaderboard.json`` is a list with an object per round, model, suite, task, split and metric; values and intervals
    from 0 to 1; ``llm_tokens`` is all that was spent up to that round. The other files show the main metrics in
    points, 0 to 100, the means of benchmarks beside published ones, differences, costs, and what did not run.
    """
    entries = merge_entries(entries)
    if not entries:
        raise EvaluationError("the leaderboard has no report to show: evaluate at least one round")
    rows = leaderboard_rows(entries, costs)
    tables = sections(entries, costs)
    plot_leaderboard(entries, workdir / "leaderboard.png")
    files = {
        "leaderboard.json": json.dumps(rows, indent=1, ensure_ascii=False),
        "leaderboard.md": as_markdown(tables),
        "leaderboard.html": as_html(tables, (workdir / "leaderboard.png").read_bytes()),
    }
    for name, content in files.items():
        with atomic_path(workdir / name) as path:
            path.write_text(content, encoding="utf-8")
    return {
        "leaderboard": "leaderboard.md",
        "plot": "leaderboard.png",
        "models": len(entries),
        "llm_tokens": sum(cost.llm_tokens or 0 for cost in costs),
        "main_scores": [_in_points(row) for row in rows if row["main"]],
        "not_run": [
            {"round": entry.round, "model": entry.model, **asdict(task)}
            for entry in entries
            for task in entry.report.not_run
        ],
    }


def _in_points(row: dict[str, Any]) -> dict[str, Any]:
    return row | {name: None if row[name] is None else round(100 * row[name], 2) for name in ("value", "low", "high")}


def merge_entries(entries: Sequence[LeaderboardEntry]) -> list[LeaderboardEntry]:
    """Return one entry for each round and model; several reports of a model become one."""
    merged: dict[tuple[str, str], LeaderboardEntry] = {}
    for entry in entries:
        known = merged.get((entry.round, entry.model))
        report = entry.report if known is None else _merge_reports(known.report, entry.report)
        merged[entry.round, entry.model] = entry._replace(report=report)
    return list(merged.values())


def _merge_reports(first: EvaluationReport, second: EvaluationReport) -> EvaluationReport:
    return replace(first, **{name: getattr(first, name) + getattr(second, name) for name in JOINED})


def leaderboard_rows(entries: Sequence[LeaderboardEntry], costs: Sequence[StageCost]) -> list[dict[str, Any]]:
    """Return a row per model and score, with what it cost."""
    rounds = list(dict.fromkeys(entry.round for entry in entries))
    return [
        {
            "round": entry.round,
            "model": entry.model,
            "checkpoint_fingerprint": entry.report.checkpoint_fingerprint,
            **asdict(row),
            "seconds": entry.report.seconds,
            "texts_encoded": entry.report.texts_encoded,
            "llm_tokens": _tokens_until(entry.round, rounds, costs),
        }
        for entry in entries
        for row in entry.report.rows
    ]


def _tokens_until(last: str, rounds: Sequence[str], costs: Sequence[StageCost]) -> int:
    until = rounds[: rounds.index(last) + 1]
    return sum(cost.llm_tokens or 0 for cost in costs if cost.round in until)


def choose_best(entries: Sequence[LeaderboardEntry], suite: str, split: str, metric: str) -> LeaderboardEntry:
    """Return the checkpoint with the highest ``metric`` on a suite's split (mean of its tasks), the first of equals.

    Raises
    ------
    EvaluationError
        No checkpoint has the metric, or one was scored on other tasks than the rest.
    """
    checkpoints = [entry for entry in merge_entries(entries) if not entry.baseline]
    scored = [(entry, values) for entry in checkpoints if (values := _values(entry, suite, split, metric))]
    if not scored:
        rows = [row for entry in checkpoints for row in entry.report.rows if row.suite == suite]
        raise EvaluationError(
            f"no checkpoint has {metric} on suite {suite!r}, split {split!r}: name a split and a metric that were "
            f"measured there: {listed_by_split((row.split, row.metric) for row in rows)}"
        )
    tasks = set(scored[0][1])
    for entry in checkpoints:
        values = _values(entry, suite, split, metric)
        if set(values) != tasks:
            raise EvaluationError(
                f"{entry.round} was scored on {sorted(values)}, others on {sorted(tasks)}: their means do not compare; "
                f"evaluate all rounds on the same tasks of suite {suite!r}"
            )
    return max(scored, key=lambda pair: sum(pair[1].values()) / len(pair[1]))[0]


def _values(entry: LeaderboardEntry, suite: str, split: str, metric: str) -> dict[str, float]:
    """Return the values of a suite's tasks; a task made of parts counts once where it has the metric as a whole."""
    rows = [row for row in entry.report.rows if (row.suite, row.split, row.metric) == (suite, split, metric)]
    whole = {row.task for row in rows}
    return {f"{row.task}/{row.subset}": row.value for row in rows if row.part_of not in whole}
