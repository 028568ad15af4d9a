"""What a round's checkpoint finds for the queries that it is evaluated on, and what stands above what is relevant."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from conan_assets.evaluation.report import PER_QUERY, baseline_per_query
from conan_assets.look.home import Home, find_query, paragraph
from conan_assets.mining.shown import texts_of

MEASURE = ["suite", "task", "subset", "split", "query_id"]


def look_at_report(home: Home, number: int, wanted: str | None, show: int, longest: int) -> str:
    """Return what a round found for the query ``wanted``, or for the worst queries of every task.

    Parameters
    ----------
    show
        How many queries of each task.
    longest
        Characters of each text.

    Raises
    ------
    LookError
        There is no such round or query.
    ArtifactError
        The round is not evaluated yet.
    """
    home.require_round(number, first=0)
    names = [f"{name}_report" for name, suites in home.settings.suites.items() if suites]
    queries = pl.concat(
        pl.read_parquet(home.artifact(f"round_{number}/{name}", PER_QUERY).path / PER_QUERY) for name in names
    )
    if wanted is None:
        worst = queries.filter(pl.col("ndcg_at_10") < 1).sort("ndcg_at_10", "recall_at_100", "query_id")
        shown = worst.group_by(MEASURE[:-1], maintain_order=True).head(show)
    else:
        shown = queries.filter(query_id=find_query(queries.lazy(), wanted, "queries of the evaluation"))
    named = pl.concat([shown["found"], shown["expected"]]).explode().unique()
    texts = texts_of(home.table("raw_corpus"), home.table("raw_pairs"), named)
    ranked = _elsewhere(home, number, names)
    rows = [(row, _scores(row, ranked)) for row in shown.iter_rows(named=True)]
    return "\n\n\n".join("\n".join(_lines(number, row, scores, texts, longest)) for row, scores in rows)


def _elsewhere(home: Home, number: int, names: Sequence[str]) -> dict[str, pl.DataFrame]:
    """Return the scores per query of the baselines and of the other rounds that are evaluated, by name."""
    files: dict[str, list[Path]] = {}
    for name in names:
        for each, report in home.rounds(name, PER_QUERY).items():
            for baseline in report.report.get("baselines", ()):
                files.setdefault(baseline, []).append(report.path / baseline_per_query(baseline))
            if each != number:
                files.setdefault(f"round {each}", []).append(report.path / PER_QUERY)
    return {label: pl.concat(pl.read_parquet(path) for path in paths) for label, paths in files.items()}


def _scores(row: Mapping[str, Any], others: Mapping[str, pl.DataFrame]) -> dict[str, float]:
    found = {label: queries.filter(**{name: row[name] for name in MEASURE}) for label, queries in others.items()}
    return {label: queries["ndcg_at_10"][0] for label, queries in found.items() if queries.height}


def _lines(
    number: int, row: Mapping[str, Any], scores: Mapping[str, float], texts: Mapping[str, str], longest: int
) -> Iterator[str]:
    beside = "".join(f", {label} {100 * score:.1f}" for label, score in scores.items())
    yield f"{row['task']}, {row['split']}: nDCG@10 {100 * row['ndcg_at_10']:.1f} in round {number}{beside}"
    yield f"query {row['query_id']}"
    yield paragraph(row["query"], longest)
    for doc_id in row["expected"]:
        place = row["found"].index(doc_id) + 1 if doc_id in row["found"] else None
        yield f"\nrelevant, {f'found at place {place}' if place else 'not among the ten best'}: {doc_id}"
        yield paragraph(texts.get(doc_id) or row["expected_text"] or "", longest)
    above = row["found"][: (row["rank"] or len(row["found"]) + 1) - 1]
    for place, doc_id in enumerate(above, start=1):
        cut = row["above_texts"][place - 1] if place <= len(row["above_texts"]) else "(its text is not kept)"
        yield f"\n{place}. above it: {doc_id}"
        yield paragraph(texts.get(doc_id, cut), longest)
    if not above:
        yield "\nnothing stands above it"
