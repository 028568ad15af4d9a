"""Mine for ten times the queries: ``python -m benchmarks.mining_tables [--queries 2000000] [--docs 2000] [--dim 8]``.

A teacher's table and a round's negatives, 100 candidates a query, for a tenth of the queries and for all of them, each
in a process of its own. The vectors are made up of the texts' numbers, so that no model is needed; all else is what
the graph runs: stored embeddings, exact search, both tables, vetoes by teacher and student, audit and pictures.

Ends with one line of JSON: seconds, peak resident memory and size of the tables of each, and ``rss_growth``, the peak
of all queries over that of a tenth.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import polars as pl

from benchmarks.mining import peak_rss_mib, unit
from conan_assets.cleaning import TABLE
from conan_assets.data.tables import CORPUS, PAIRS
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.encoding.store import EmbeddingStore
from conan_assets.mining.hard_negatives import mine_hard_negatives
from conan_assets.mining.parts import TableWriter
from conan_assets.mining.settings import MiningSettings
from conan_assets.mining.teacher_scores import score_with_teacher
from conan_assets.search.embeddings import BiEncoderRetriever
from conan_assets.search.settings import PythonTeacher

if TYPE_CHECKING:
    from conan_assets.encoding.encoder import Encoder

DEPTH = 100
ROWS_PER_PART = 50_000
TEACHER = "made_up"


class MadeUpEncoder:
    """What the store asks of an encoder: vectors that depend on a text's last word alone, a number."""

    device = "cpu"
    texts_cut = 0
    settings = EncoderSettings("made up")

    def __init__(self, name: str, dim: int) -> None:
        self._name = name
        self._dim = dim

    def namespace(self, role: str) -> str:
        """Return what tells these vectors from others."""
        return f"{self._name}-{role}"

    def encode(self, texts: Sequence[str], role: str) -> np.ndarray:
        """Return a vector for each text, float32 of shape (len(texts), dim), of length 1."""
        numbers = np.array([1 + int(text.rsplit(maxsplit=1)[1]) for text in texts], np.float64)
        frequencies = np.random.default_rng([*self._name.encode(), *role.encode()]).uniform(1, 100, self._dim)
        return unit(np.sin(numbers[:, None] * frequencies))


def open_teacher(documents: Sequence[str], retrievable: int | None, store: str, dim: int) -> BiEncoderRetriever:
    """Return the teacher: another made-up encoder over the same documents."""
    encoder = cast("Encoder", MadeUpEncoder(TEACHER, dim))
    return BiEncoderRetriever(encoder, EmbeddingStore(Path(store)), documents, retrievable=retrievable)


def make_data(folder: Path, queries: int, documents: int) -> None:
    """Write the corpus and a pair for each query, every fifth with a second positive."""
    numbers = pl.int_range(documents)
    corpus = pl.select(doc_id=pl.format("doc-{}", numbers), dataset=pl.lit("made"), title=pl.lit(""))
    corpus = corpus.with_columns(text=pl.format("a document that is made up, with the number {}", numbers))
    corpus.select(*CORPUS.columns).write_parquet(folder / "corpus.parquet")
    with TableWriter(folder / "pairs.parquet") as pairs:
        for part in _pairs(queries, documents):
            pairs.add(part)


def _pairs(queries: int, documents: int) -> Iterator[pl.DataFrame]:
    generator = np.random.default_rng(0)
    for start in range(0, queries, ROWS_PER_PART):
        rows = np.arange(start, min(start + ROWS_PER_PART, queries))
        rows = np.sort(np.concatenate([rows, rows[::5]]))
        frame = pl.DataFrame({"query": rows, "doc": generator.integers(documents, size=len(rows))}).unique()
        query_id, doc_id = pl.format("query-{}", "query"), pl.format("doc-{}", "doc")
        yield frame.sort("query", "doc").select(
            pair_id=pl.concat_str(query_id, pl.lit("+"), doc_id),
            **{name: pl.lit(value) for name, value in (("task", "retrieval"), ("dataset", "made"))},
            **{name: pl.lit(value) for name, value in (("origin", "natural"), ("split", "train"))},
            query_id=query_id,
            query=pl.format("a question as somebody might put it, of the number {}", "query"),
            doc_id=doc_id,
            text=pl.lit(None, pl.String),
            score=pl.lit(1.0, pl.Float32),
        )


def measure(folder: Path, dim: int) -> dict[str, Any]:
    """Score with the teacher and mine in this process."""
    started = time.monotonic()
    corpus, pairs = (pl.scan_parquet(folder / f"{name}.parquet") for name in ("corpus", "pairs"))
    store, scores, mined = folder / "embeddings", folder / "scores", folder / "mined"
    options = {"store": str(store), "dim": dim}
    teacher = PythonTeacher(retriever="benchmarks.mining_tables:open_teacher", options=options, depth=DEPTH)
    for directory in (scores, mined):
        directory.mkdir()
    score_with_teacher(teacher, TEACHER, corpus, pairs, EmbeddingStore(store), scores)
    scored = {"seconds_of_teacher": round(time.monotonic() - started, 1), "mib_of_teacher": round(peak_rss_mib())}
    veto = [{"teacher": TEACHER, "rule": "top_k_perc_pos"}, {"teacher": "student", "rule": "top_k_perc_pos"}]
    settings = MiningSettings.model_validate({"depth": DEPTH, "veto": veto})
    student, teachers = cast("Encoder", MadeUpEncoder("student", dim)), {TEACHER: teacher}
    tables, nothing = {TEACHER: pl.scan_parquet(scores / TABLE)}, pl.DataFrame(schema=dict(PAIRS.columns))
    report = mine_hard_negatives(
        settings, student, teachers, tables, corpus, pairs, nothing, None, EmbeddingStore(store), mined
    )
    return {
        **scored,
        "seconds": round(time.monotonic() - started, 1),
        "peak_rss_mib": round(peak_rss_mib()),
        "rows": report["rows"],
        "tables_mib": round(sum((each / TABLE).stat().st_size for each in (scores, mined)) / 2**20),
    }


def in_own_process(queries: int, documents: int, dim: int) -> dict[str, Any]:
    """Return the figures of one number of queries."""
    with tempfile.TemporaryDirectory() as folder:
        make_data(Path(folder), queries, documents)
        command = [sys.executable, "-m", "benchmarks.mining_tables", "--measure", folder, "--dim", str(dim)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{queries:>9,} queries {figures['seconds']:8.1f} s {figures['peak_rss_mib']:6} MiB", flush=True)
    return {"queries": queries, **figures}


def main() -> None:
    """Print a line for each number of queries and the JSON line at the end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mining_tables")
    parser.add_argument("--queries", type=int, default=2_000_000)
    parser.add_argument("--docs", type=int, default=2_000)
    parser.add_argument("--dim", type=int, default=8)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.dim)))
        return
    few, many = (in_own_process(count, options.docs, options.dim) for count in (options.queries // 10, options.queries))
    growth = round(many["peak_rss_mib"] / few["peak_rss_mib"], 3)
    shape = (options.queries, options.docs, options.dim)
    print(json.dumps({"benchmark": "mining_tables", "shape": shape, "few": few, "many": many, "rss_growth": growth}))


if __name__ == "__main__":
    main()
