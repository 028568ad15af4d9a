"""All rounds, the base model and BM25 side by side."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from conan_assets.evaluation.choice import Choice, merge_entries
from conan_assets.evaluation.leaderboard_plot import plot_leaderboard
from conan_assets.evaluation.leaderboard_table import as_html, as_markdown, sections
from conan_assets.evaluation.report import LeaderboardEntry, StageCost, in_points
from conan_assets.evaluation.settings import EvaluationError
from conan_assets.files import atomic_path


def build_leaderboard(
    entries: Sequence[LeaderboardEntry], workdir: Path, costs: Sequence[StageCost] = (), choice: Choice | None = None
) -> dict[str, Any]:
    """Write ``leaderboard.json``, ``.md``, ``.html`` and ``.png`` into ``workdir`` and return the report.

    ``leaderboard.json`` is a list with an object per round, model, suite, task, split and metric; values and intervals
    from 0 to 1; ``llm_tokens`` is all that was spent up to that round; ``best`` marks the checkpoint of the ``choice``.
    The other files begin with the choice in words and show the main metrics in points, 0 to 100, the means of
    benchmarks beside published ones, differences, costs, and what did not run.
    """
    entries = merge_entries(entries)
    if not entries:
        raise EvaluationError("the leaderboard has no report to show: evaluate at least one round")
    rows = leaderboard_rows(entries, costs, choice)
    outcome = choice.outcome() if choice else ""
    tables = sections(entries, costs)
    plot_leaderboard(entries, workdir / "leaderboard.png")
    files = {
        "leaderboard.json": json.dumps(rows, indent=1, ensure_ascii=False),
        "leaderboard.md": as_markdown(tables, outcome),
        "leaderboard.html": as_html(tables, outcome, (workdir / "leaderboard.png").read_bytes()),
    }
    for name, content in files.items():
        with atomic_path(workdir / name) as path:
            path.write_text(content, encoding="utf-8")
    return {
        **(choice.figures() if choice else {}),
        "leaderboard": "leaderboard.md",
        "plot": "leaderboard.png",
        "models": len(entries),
        "llm_tokens": sum(cost.llm_tokens or 0 for cost in costs),
        "main_scores": [
            {"round": entry.round, "model": entry.model, **in_points(row)}
            for entry in entries
            for row in entry.report.rows
            if row.main
        ],
        "not_run": [
            {"round": entry.round, "model": entry.model, **asdict(task)}
            for entry in entries
            for task in entry.report.not_run
        ],
    }


def leaderboard_rows(
    entries: Sequence[LeaderboardEntry], costs: Sequence[StageCost], choice: Choice | None
) -> list[dict[str, Any]]:
    """Return a row per model and score, with what it cost and whether it is the chosen model's."""
    rounds = list(dict.fromkeys(entry.round for entry in entries))
    return [
        {
            "round": entry.round,
            "model": entry.model,
            "best": choice is not None and (entry.round, entry.model) == (choice.best.round, choice.best.model),
            "checkpoint_fingerprint": entry.report.checkpoint_fingerprint,
            **asdict(row),
            "written_by": next(
                (d.written_by for d in entry.report.data if d.suite == row.suite and d.written_by), None
            ),
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
