"""Curate made-up pairs with planted near-duplicates: ``python -m benchmarks.curation [--pairs 100000 1000000]``.

Ends with one line of JSON: for each size pairs per second, peak resident memory, planted duplicates found and missed,
and false positives; and the growth of memory from the first size to the last. Polars uses two threads. No evaluation
sets are in the measurement, and the planted copies are easy ones: a word more in the query, two more in the document.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from conan_assets.data.curation import curate
from conan_assets.data.curation_settings import CurationSettings
from conan_assets.data.tables import PAIRS

VOCABULARY = [
    f"{a}{b}{c}" for a in "bdfgklmnprstv" for b in ("a", "e", "i", "o", "ur", "ast") for c in "bdfgklmnprstvxz"
]
DOCUMENT_WORDS = 60
QUERY_WORDS = 12
PLANTED_EVERY = 50
CHUNK = 50_000
THREADS = 2


def write_pairs(count: int, folder: Path) -> None:
    """Write ``count`` pairs in chunks; every 50th is a near-copy of the pair before it, under another id."""
    chance = random.Random(0)
    query = document = ""
    for start in range(0, count, CHUNK):
        rows = []
        for number in range(start, min(start + CHUNK, count)):
            if number == 0 or number % PLANTED_EVERY:
                query, document = _words(chance, QUERY_WORDS), _words(chance, DOCUMENT_WORDS)
                rows.append((number, query, document))
            else:
                rows.append((number, f"{query} so", f"{document} {_words(chance, 2)}"))
        frame = pl.DataFrame(rows, schema=["number", "query", "document"], orient="row")
        frame.write_parquet(folder / f"{start:09}.parquet")


def _words(chance: random.Random, count: int) -> str:
    return " ".join(chance.choices(VOCABULARY, k=count))


def measure(folder: Path) -> dict[str, float]:
    """Return what curating the pairs of ``folder`` took and found, with this process's peak memory."""
    source = pl.scan_parquet(folder / "*.parquet")
    doc_id = pl.concat_str(pl.lit("made:d"), "number")
    corpus = source.select(doc_id=doc_id, dataset=pl.lit("made"), title=pl.lit(""), text="document")
    constants = {"task": "retrieval", "dataset": "made", "origin": "natural", "split": "train"}
    pairs = source.select(
        pair_id=pl.concat_str(pl.lit("made:p"), "number"),
        query_id=pl.concat_str(pl.lit("made:q"), "number"),
        query="query",
        doc_id=doc_id,
        text=pl.lit(None, dtype=pl.String),
        score=pl.lit(1.0, dtype=pl.Float32),
        **{name: pl.lit(value) for name, value in constants.items()},
    ).select(*PAIRS.columns)
    written = pl.LazyFrame(schema=dict(PAIRS.columns))
    target = folder / "curated" / "table.parquet"
    target.parent.mkdir()
    started = time.monotonic()
    report = curate(pairs, written, corpus, {}, CurationSettings(examples_per_reason=0), target)
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    count = report["rows_in"]
    kept = pl.read_parquet(target, columns=["pair_id"])["pair_id"].str.strip_prefix("made:p").cast(pl.Int64)
    removed = set(range(count)) - set(kept)
    planted = set(range(PLANTED_EVERY, count, PLANTED_EVERY))
    found = len(planted & removed)
    return {
        "pairs": count,
        "seconds": round(seconds, 1),
        "pairs_per_second": round(count / seconds),
        "peak_rss_mib": round(peak),
        "planted": len(planted),
        "found": found,
        "missed": len(planted) - found,
        "recall": round(found / len(planted), 4),
        "false_positives": len(removed - planted),
    }


def main() -> None:
    """Measure each size in a process of its own, so that its peak memory is its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.curation")
    parser.add_argument("--pairs", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    results = []
    for count in arguments.pairs:
        with tempfile.TemporaryDirectory() as folder:
            write_pairs(count, Path(folder))
            command = [sys.executable, "-m", "benchmarks.curation", "--measure", folder]
            environment = {**os.environ, "POLARS_MAX_THREADS": str(THREADS)}
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment)
        results.append(json.loads(done.stdout.splitlines()[-1]))
        print(json.dumps(results[-1]), file=sys.stderr)
    growth = results[-1]["peak_rss_mib"] / results[0]["peak_rss_mib"]
    print(json.dumps({"benchmark": "curation", "results": results, "rss_growth": round(growth, 2)}))


if __name__ == "__main__":
    main()
