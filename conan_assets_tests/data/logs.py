"""Search logs for the tests: a corpus, and searches whose clicks follow what is written here."""

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl

from conan_assets_tests.data.frames import write_lines

ANIMALS = ["cat", "dog", "cow", "hen", "owl", "bee", "ant", "fox", "elk", "yak"]


def write_corpus(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(
        {"_id": ANIMALS, "text": [f"All there is to know of the {animal}." for animal in ANIMALS]}
    ).write_parquet(folder / "corpus.parquet")


def search(query: str, shown: str, clicked: str = "", day: int = 1) -> dict[str, Any]:
    return {
        "query": query,
        "shown": shown.split(),
        "clicked": clicked.split(),
        "time": f"2025-{1 + day // 28:02}-{1 + day % 28:02}T10:00:00Z",
    }


def write_searches(folder: Path, searches: Iterable[dict[str, Any]]) -> Path:
    write_corpus(folder)
    write_lines(folder / "log.jsonl", *searches)
    return folder


def three_slices() -> list[dict[str, Any]]:
    """Ten days: a query of the first eight, one of the ninth and one of the tenth, each with a skipped document."""
    old = [search("who purrs", "dog cat", "cat", day) for day in range(8)]
    return [*old, *[search("who  barks", "cow dog", "dog", 8)] * 2, *[search("who hoots", "hen owl", "owl", 9)] * 2]


def people_who_look_at_the_top(queries: int, times: int, seed: int = 0) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Searches, and the relevant document of each query, in a log of people who look at position k as often as 1/k.

    The relevant one stands at the sixth position, is clicked by 6 of 10 who look at it, and all others by 2 of 10.
    """
    drawn, searches, relevant = random.Random(seed), [], {}
    for number in range(queries):
        order = drawn.sample(ANIMALS, len(ANIMALS))
        query = f"question {number}"
        relevant[query] = order[5]
        for day in range(times):
            looked_at = (doc for place, doc in enumerate(order, start=1) if drawn.random() < 1 / place)
            clicked = [doc for doc in looked_at if drawn.random() < (0.6 if doc == relevant[query] else 0.2)]
            searches.append(search(query, " ".join(order), " ".join(clicked), day % 300))
    return searches, relevant
