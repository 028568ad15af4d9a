"""All shards of a hundred million documents, each of a thousandth of its rows: ``python -m benchmarks.planned_shards``.

Options: ``[--planned 100000000] [--dim 16] [--processes 2]``. For a million planned documents and for all of them, each
in a process of its own: the corpus becomes an artifact with its manifest, every shard is encoded by other processes,
parts are stored and listed, everything is opened anew and found, and exact search merges the best of every shard. The
vectors are made up of the texts' numbers; all else is what the graph runs. It shows what planning, parts, manifests
and merging take of the process that drives them, not what rows do.

Ends with one line of JSON: shards, parts, seconds and peak resident memory of the driver for each, and ``rss_growth``.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import polars as pl

from benchmarks.mining import peak_rss_mib
from benchmarks.mining_tables import MadeUpEncoder
from conan_assets.artifacts import ArtifactStore, fingerprint
from conan_assets.cleaning import TABLE
from conan_assets.compute.devices import Devices
from conan_assets.data.blocks import BLOCK_ROWS, write_blocks
from conan_assets.data.tables import CORPUS, DOCUMENT_TEXT
from conan_assets.encoding import store as stores
from conan_assets.encoding.row_parts import read_parts
from conan_assets.encoding.rows import PARTS
from conan_assets.encoding.store import EmbeddingStore
from conan_assets.search import exact
from conan_assets.search.groups import Groups
from conan_assets.search.vectors import ArrayVectors

if TYPE_CHECKING:
    from conan_assets.encoding.encoder import Encoder

ROWS_PER_SHARD = stores.ROWS_PER_SHARD
SHARE = 1_000
FEWEST_PLANNED = 1_000_000
QUERIES, DEPTH = 500, 10
NEARLY_ONE = 0.999


def measure(folder: Path, planned: int, dim: int, processes: int) -> dict[str, Any]:
    """Drive every shard of so many planned documents in this process."""
    rows = ROWS_PER_SHARD // SHARE
    stores.ROWS_PER_SHARD = exact.DOCUMENTS_PER_BLOCK = rows  # type: ignore[misc]
    shards = -(-planned // ROWS_PER_SHARD)
    started = time.monotonic()
    texts = publish(folder, shards * rows)
    encoder = cast("Encoder", MadeUpEncoder("planned", dim))
    first = EmbeddingStore(folder / "embeddings", compute=Devices(processes)).embed(encoder, texts, "document")
    again = EmbeddingStore(folder / "embeddings").embed(encoder, texts, "document")
    queries = ArrayVectors(again.block(0, QUERIES))
    nearest = exact.exact_nearest(queries, again, DEPTH, Groups.empty(queries.shape[0]), threads=1)
    (parts,) = (folder / "embeddings").glob(f"*/{PARTS}")
    return {
        "shards": shards,
        "encoded": [first.encoded, again.encoded],
        "found_themselves": float((nearest.scores[:, 0] > NEARLY_ONE).mean()),
        "parts": len(read_parts(parts)[0]),
        "seconds": round(time.monotonic() - started, 1),
        "peak_rss_mib": round(peak_rss_mib()),
    }


def publish(folder: Path, rows: int) -> list[str]:
    """Make an artifact of a corpus of so many documents, read it back as mining does and return its texts."""
    store = ArtifactStore(folder / "assets")
    version = fingerprint(rows)
    with store.building("raw_corpus", version) as directory:
        blocks = (_documents(start, min(start + BLOCK_ROWS, rows)) for start in range(0, rows, BLOCK_ROWS))
        write_blocks(blocks, directory / TABLE, pl.DataFrame(schema=dict(CORPUS.columns)))
        store.finish("raw_corpus", version, {"rows": rows})
    corpus = store.require_intact(store.current("raw_corpus")).path / TABLE
    return pl.scan_parquet(corpus).select(text=DOCUMENT_TEXT).collect()["text"].to_list()


def _documents(start: int, stop: int) -> pl.DataFrame:
    numbers = pl.int_range(start, stop)
    ids = {"doc_id": pl.format("doc-{}", numbers), "dataset": pl.lit("made"), "title": pl.lit("")}
    return pl.select(**ids, text=pl.format("the document with the number {}", numbers))


def in_own_process(planned: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of so many planned documents."""
    with tempfile.TemporaryDirectory() as folder:
        given = ["--planned", str(planned), "--dim", str(options.dim), "--processes", str(options.processes)]
        command = [sys.executable, "-m", "benchmarks.planned_shards", "--measure", folder, *given]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{planned:>11,} planned {json.dumps(figures)}", flush=True)
    return {"planned": planned, **figures}


def main() -> None:
    """Print a line for each number of documents and the JSON line at the end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planned_shards")
    parser.add_argument("--planned", type=int, default=100_000_000)
    parser.add_argument("--dim", type=int, default=16)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.planned, options.dim, options.processes)))
        return
    few, many = (in_own_process(planned, options) for planned in (FEWEST_PLANNED, options.planned))
    growth = round(many["peak_rss_mib"] / few["peak_rss_mib"], 3)
    print(json.dumps({"benchmark": "planned_shards", "few": few, "many": many, "rss_growth": growth}))


if __name__ == "__main__":
    main()
