"""The leaderboard as Markdown and HTML: a line per model, a column per task and split, values in points."""

import base64
import html
from collections.abc import Sequence

from conan_assets.evaluation.leaderboard import LeaderboardEntry

Column = tuple[str, str, str, str, str]
"""Suite, task, subset, split, metric."""


def as_markdown(entries: Sequence[LeaderboardEntry]) -> str:
    """Return the table in Markdown, and below it what did not run."""
    head, *lines = table(entries)
    marks = ["---", "---", *["--:"] * (len(head) - 2)]
    text = "\n".join("| " + " | ".join(line) + " |" for line in (head, marks, *lines))
    missing = "\n".join(f"* {line}" for line in not_run(entries))
    return f"{text}\n\n{LEGEND}\n" + (f"\nDid not run:\n\n{missing}\n" if missing else "")


def as_html(entries: Sequence[LeaderboardEntry], plot: bytes) -> str:
    """Return the table and the plot, a PNG, as a page of HTML that needs no other file."""
    head, *lines = table(entries)
    cells = [_html_row("th", head), *(_html_row("td", line) for line in lines)]
    missing = "".join(f"<li>{html.escape(line)}</li>" for line in not_run(entries))
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Leaderboard</title><style>"
        "body{font-family:sans-serif;margin:2em}table{border-collapse:collapse}"
        "td,th{border:1px solid #bbb;padding:.3em .6em;text-align:right}"
        "td:nth-child(-n+2),th:nth-child(-n+2){text-align:left}</style></head><body><h1>Leaderboard</h1>"
        f"<table>{''.join(cells)}</table><p>{LEGEND}</p>"
        + (f"<h2>Did not run</h2><ul>{missing}</ul>" if missing else "")
        + "<p><img alt='Main metrics over the rounds' src='data:image/png;base64,"
        + base64.b64encode(plot).decode()
        + "'></p></body></html>\n"
    )


LEGEND = "Main metric of each task in points, with its 95 % bootstrap interval over queries where there are queries."


def table(entries: Sequence[LeaderboardEntry]) -> list[list[str]]:
    """Return the lines of the table, the head first."""
    columns = _columns(entries)
    lines = [[entry.round, entry.model, *(_cell(entry, column) for column in columns)] for entry in entries]
    heads = [" ".join(dict.fromkeys((suite, task, split, metric))) for suite, task, _, split, metric in columns]
    return [["round", "model", *heads], *lines]


def not_run(entries: Sequence[LeaderboardEntry]) -> list[str]:
    """Return a line for each task that did not run, with the reason."""
    return [
        f"{entry.round}, {entry.model}: {task['suite']} {task['task']}: {task['reason']}"
        for entry in entries
        for task in entry.report["not_run"]
    ]


def _columns(entries: Sequence[LeaderboardEntry]) -> list[Column]:
    rows = [row for entry in entries for row in entry.report["rows"] if row["main"]]
    return list(dict.fromkeys((row["suite"], row["task"], row["subset"], row["split"], row["metric"]) for row in rows))


def _cell(entry: LeaderboardEntry, column: Column) -> str:
    for row in entry.report["rows"]:
        if (row["suite"], row["task"], row["subset"], row["split"], row["metric"]) == column:
            interval = "" if row["low"] is None else f" ({100 * row['low']:.1f}–{100 * row['high']:.1f})"
            return f"{100 * row['value']:.2f}{interval}"
    return "–"


def _html_row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"
