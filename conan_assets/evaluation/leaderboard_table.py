"""The leaderboard as Markdown and HTML: tables per suite with a line per task and a column per model, in points."""

import base64
import html
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from conan_assets.evaluation.report import BenchmarkMean, BenchmarkTask, LeaderboardEntry, Measure, ScoreRow, StageCost
from conan_assets.markdown import as_table

NONE = "–"
PLACE = ("task", "split", "metric")
INTERVALS = "Points, with the 95 % bootstrap interval over queries where there are queries."
PUBLISHED = "Published lines were not measured here. A mean is given only where every task that belongs to it has run."
WRITTEN = "Its questions were written about the documents: the figures compare models, and are no human judgements."
CUT = "Points of vectors cut to their first components, of length 1 again; whole vectors are above."
END_OF_PAGE = "</body></html>\n"
PAIRED = "Points; paired by query, which tells more than two intervals side by side. * marks what is beyond chance."


class Section(NamedTuple):
    """A titled table, its first line the head, and what its reader needs to know."""

    title: str
    lines: list[list[str]]
    note: str = ""


def sections(entries: Sequence[LeaderboardEntry], costs: Sequence[StageCost]) -> list[Section]:
    """Return all tables: scores by suite, benchmarks beside published lines, differences, costs, what did not run."""
    suites = list(dict.fromkeys(row.suite for entry in entries for row in entry.report.rows))
    tables = [
        *(_suite(entries, suite) for suite in suites),
        _lengths(entries),
        *_benchmarks(entries),
        _differences(entries),
        _costs(entries, costs),
        _not_run(entries),
    ]
    return [table for table in tables if len(table.lines) > 1]


def as_markdown(tables: Sequence[Section], outcome: str) -> str:
    """Return the outcome, itself Markdown, and the tables in Markdown."""
    return "\n\n".join(part for part in ("# Leaderboard", outcome, *map(section_text, tables)) if part) + "\n"


def section_text(section: Section) -> str:
    """Return a table with its title and note in Markdown."""
    head, *lines = section.lines
    return "\n\n".join(part for part in (f"## {section.title}", as_table(head, lines), section.note) if part)


def as_html(tables: Sequence[Section], outcome: str, plot: bytes) -> str:
    """Return the outcome, the tables and the plot, a PNG, as a page of HTML that needs no other file."""
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Leaderboard</title><style>"
        "body{font-family:sans-serif;margin:2em}table{border-collapse:collapse}img{max-width:100%}"
        "td,th{border:1px solid #bbb;padding:.3em .6em;text-align:left}</style></head><body><h1>Leaderboard</h1>"
        f"<p>{html.escape(outcome.replace('**', ''))}</p>"
        f"{''.join(map(_html_section, tables))}{_html_picture('Main metrics over the rounds', plot)}{END_OF_PAGE}"
    )


def added_to(page: str, section: Section, alt: str, plot: bytes) -> str:
    """Return a page that :func:`as_html` wrote with one more table and its plot, a PNG, at the end."""
    return f"{page.removesuffix(END_OF_PAGE)}{_html_section(section)}{_html_picture(alt, plot)}{END_OF_PAGE}"


def _html_section(section: Section) -> str:
    head, *lines = section.lines
    rows = _html_row("th", head) + "".join(_html_row("td", line) for line in lines)
    return f"<h2>{html.escape(section.title)}</h2><table>{rows}</table><p>{html.escape(section.note)}</p>"


def _html_picture(alt: str, plot: bytes) -> str:
    source = f"data:image/png;base64,{base64.b64encode(plot).decode()}"
    return f"<p><img alt='{html.escape(alt)}' src='{source}'></p>"


def _html_row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _suite(entries: Sequence[LeaderboardEntry], suite: str) -> Section:
    scores = [
        {_place(row): row for row in entry.report.rows if row.suite == suite and row.main and not row.part_of}
        for entry in entries
    ]
    places = dict.fromkeys(place for rows in scores for place in rows)
    lines = [[*place, *(_score(rows.get(place)) for rows in scores)] for place in places]
    writers = sorted(
        {data.written_by for e in entries for data in e.report.data if data.suite == suite and data.written_by}
    )
    title, note = suite, INTERVALS
    if writers:
        title, note = f"{suite} (written by {', '.join(writers)})", f"{INTERVALS} {WRITTEN}"
    return Section(title, [[*PLACE, *(entry.model for entry in entries)], *lines], note)


def _place(row: Measure) -> tuple[str, ...]:
    return row.label, row.split, row.metric


def _score(row: ScoreRow | None) -> str:
    if row is None:
        return NONE
    interval = "" if row.low is None or row.high is None else f" ({100 * row.low:.1f} to {100 * row.high:.1f})"
    return f"{100 * row.value:.2f}{interval}"


def _lengths(entries: Sequence[LeaderboardEntry]) -> Section:
    scores = [{((row.suite, *_place(row)), row.dim): row for row in entry.report.lengths} for entry in entries]
    places = sorted({place for rows in scores for place in rows}, key=lambda place: (place[0], -place[1]))
    lines = [[*where, str(dim), *(_score(rows.get((where, dim))) for rows in scores)] for where, dim in places]
    return Section("Vectors cut short", [["suite", *PLACE, "components", *(e.model for e in entries)], *lines], CUT)


def _benchmarks(entries: Sequence[LeaderboardEntry]) -> Iterator[Section]:
    """Yield a table per suite and convention: our tasks and means by model, then the published lines."""
    means = [mean for entry in entries for mean in entry.report.means]
    for suite, convention in dict.fromkeys((mean.suite, mean.convention) for mean in means):
        tables = [_benchmark_lines(entry, suite, convention) for entry in entries]
        every_line: dict[str, BenchmarkTask | BenchmarkMean] = {}
        for table in tables:
            every_line |= table
        models = list(next(iter(every_line.values())).published)
        body = [
            [
                label,
                *(_points(table[label].ours if label in table else None) for table in tables),
                *(_points(row.published[model]) for model in models),
            ]
            for label, row in every_line.items()
        ]
        head = ["", *(entry.model for entry in entries), *(f"{model} (published)" for model in models)]
        yield Section(f"{suite}: {convention}", [head, *body], PUBLISHED)


def _benchmark_lines(entry: LeaderboardEntry, suite: str, convention: str) -> dict[str, BenchmarkTask | BenchmarkMean]:
    place = (suite, convention)
    tasks = [row for row in entry.report.beside_published if (row.suite, row.convention) == place]
    means = [row for row in entry.report.means if (row.suite, row.convention) == place]
    return {row.task: row for row in tasks} | {f"mean, {row.of} ({row.tasks} tasks)": row for row in means}


def _points(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"


def _differences(entries: Sequence[LeaderboardEntry]) -> Section:
    lines = [
        [
            entry.model,
            row.reference,
            " ".join(dict.fromkeys((row.suite, *_place(row)))),
            f"{100 * row.difference:+.2f}{'*' if row.beyond_chance else ''}",
            f"{100 * row.low:+.2f} to {100 * row.high:+.2f}",
        ]
        for entry in entries
        for row in entry.report.differences
    ]
    return Section("Differences", [["model", "against", "where", "difference", "interval"], *lines], PAIRED)


def _costs(entries: Sequence[LeaderboardEntry], costs: Sequence[StageCost]) -> Section:
    reports = [
        StageCost(entry.round, f"evaluation of {entry.model}", entry.report.seconds, entry.report.texts_encoded, 0)
        for entry in entries
    ]
    rounds = list(dict.fromkeys([*(cost.round for cost in costs), *(entry.round for entry in entries)]))
    ordered = sorted([*costs, *reports], key=lambda cost: rounds.index(cost.round))
    lines = [
        [NONE if value is None else f"{value:,}" if isinstance(value, int | float) else value for value in cost]
        for cost in ordered
    ]
    head = ["round", "stage", "seconds", "texts encoded", "tokens of the LLM"]
    return Section("Cost", [head, *lines], "A text is encoded once per model, whoever asks for it first.")


def _not_run(entries: Sequence[LeaderboardEntry]) -> Section:
    lines = [[entry.model, task.suite, task.task, task.reason] for entry in entries for task in entry.report.not_run]
    return Section("Did not run", [["model", "suite", "task", "reason"], *lines])
