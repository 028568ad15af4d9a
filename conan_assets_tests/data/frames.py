"""Small tables for the tests of the data room."""

import json
from pathlib import Path

import polars as pl

from conan_assets.data.tables import CORPUS, PAIRS, WRITTEN_PAIRS


def make_corpus(*texts: str, dataset: str = "wiki", first: int = 1) -> pl.DataFrame:
    rows = [
        {"doc_id": f"{dataset}:d{number}", "dataset": dataset, "title": "", "text": text}
        for number, text in enumerate(texts, start=first)
    ]
    return pl.DataFrame(rows, schema=dict(CORPUS.columns))


def make_pairs(*rows: dict) -> pl.DataFrame:
    """Return PAIRS; every row needs a ``query``, the other columns have defaults."""
    filled = []
    for number, row in enumerate(rows, start=1):
        defaults = {
            "pair_id": f"p{number}",
            "task": "retrieval",
            "dataset": "wiki",
            "origin": "natural",
            "split": "train",
            "query_id": f"wiki:q{number}",
            "doc_id": None,
            "text": None,
            "score": 1.0,
        }
        filled.append(defaults | row)
    written = {name: dtype for name, dtype in WRITTEN_PAIRS.columns.items() if any(name in row for row in rows)}
    return pl.DataFrame(filled, schema={**PAIRS.columns, **written})


def as_written(pairs: pl.DataFrame) -> pl.DataFrame:
    """Return WRITTEN_PAIRS of pairs that no gate has looked at; a passage is the pair's document unless it is there."""
    missing = {name: dtype for name, dtype in WRITTEN_PAIRS.columns.items() if name not in pairs.columns}
    filled = pairs.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in missing.items())
    return filled.with_columns(
        passage_id=pl.coalesce("passage_id", "doc_id"), generator=pl.coalesce("generator", pl.lit("tiny"))
    ).select(*WRITTEN_PAIRS.columns)


def write_lines(path: Path, *lines: object) -> None:
    """Write JSON values, or texts as they are, a line each."""
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
