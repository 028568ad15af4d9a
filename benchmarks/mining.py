"""Mine made-up embeddings: ``python -m benchmarks.mining [--queries 20000] [--docs 100000] [--dim 384]``.

Ours, without and with torch loaded, and both modes of sentence-transformers' ``mine_hard_negatives`` mine the same
embeddings with the same rule (5 % below the lowest positive), each in a process of its own, one after the other. One
query has 500 positives; the runs are repeated without it, since it slows sentence-transformers down for all queries.

Ends with one line of JSON: seconds and peak resident memory of each, ``ratio_seconds`` (ours without torch over the
faster mode of sentence-transformers), ``ratio_seconds_with_torch`` (ours as it runs in a process that has encoded),
``ratio_to_gemm`` (ours over the bare float32 product of the same shapes), ``ratio_memory``, ``same_negatives``, and
``rss_growth``, the peak memory of our search in ten times the documents over that in these. Every figure is the best of
``--repeats`` runs.
"""

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

DEPTH = 100
NEGATIVES = 10
RATIO = 0.95
MANY_POSITIVES = 500
CLUSTERS = 2_000
ROWS_PER_CHUNK = 50_000
TOLERANCE = 2e-6
"""Two float32 sums of the same products in another order differ by less."""


def make_data(folder: Path, queries: int, documents: int, dim: int, most_positives: int) -> None:
    """Write clustered unit vectors, and queries that lie near a document of their own, their positive.

    Every tenth query has a twin of its positive 3 % further away: a false negative that the rule removes.
    """
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((CLUSTERS, dim), dtype=np.float32)
    rows = np.lib.format.open_memmap(folder / "documents.npy", "w+", np.float32, (documents, dim))
    for start in range(0, documents, ROWS_PER_CHUNK):
        chosen = centres[generator.integers(CLUSTERS, size=min(ROWS_PER_CHUNK, documents - start))]
        rows[start : start + len(chosen)] = unit(
            chosen + 1.2 * generator.standard_normal(chosen.shape, dtype=np.float32)
        )
    positives = generator.permutation(documents)[:queries]
    wanted = unit(rows[positives] + generator.standard_normal((queries, dim), dtype=np.float32) * 1.2 / dim**0.5)
    free = np.setdiff1d(np.arange(documents), positives)
    twins = free[: min(len(free), queries) // 10]
    rows[twins] = unit(rows[positives[: len(twins)]] + 0.15 * generator.standard_normal((len(twins), dim)) / dim**0.5)
    more = np.setdiff1d(free, twins)[: most_positives - 1]
    judged = [(query, document) for query, document in enumerate(positives.tolist())]
    judged += [(queries // 2, document) for document in more.tolist()]
    np.save(folder / "queries.npy", wanted)
    np.save(folder / "positives.npy", np.array(judged))


def unit(rows: np.ndarray) -> np.ndarray:
    """Return the rows with length 1, float32."""
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def prepare_product(folder: Path) -> Callable[[], None]:
    """Return the bare product of all queries with all documents, block by block; nothing is kept of it."""
    queries, documents = np.load(folder / "queries.npy"), np.load(folder / "documents.npy")

    def run() -> None:
        for first in range(0, len(queries), 2_048):
            for start in range(0, len(documents), 2_048):
                np.matmul(queries[first : first + 2_048], documents[start : start + 2_048].T)

    return run


def prepare_search(folder: Path) -> Callable[[], None]:
    """Return our search for candidates alone, without ids, texts and tables."""
    from conan_assets.search.exact import exact_nearest
    from conan_assets.search.groups import Groups
    from conan_assets.search.vectors import FileVectors

    queries, documents = FileVectors(folder / "queries.npy"), FileVectors(folder / "documents.npy")
    judged = np.load(folder / "positives.npy")
    excluded = Groups.from_pairs(judged[:, 0], judged[:, 1], queries.shape[0])

    def run() -> None:
        exact_nearest(queries, documents, DEPTH, excluded)

    return run


def prepare_ours(folder: Path) -> Callable[[], np.ndarray]:
    """Return our mining, on frames of ids and texts."""
    import polars as pl

    from conan_assets.mining.api import Embedded, mine
    from conan_assets.mining.settings import MiningSettings

    def numbered(prefix: str, count: int) -> pl.Series:
        return pl.select(pl.concat_str(pl.lit(prefix), pl.int_range(count))).to_series()

    counts = {name: np.load(folder / f"{name}.npy", mmap_mode="r").shape[0] for name in ("queries", "documents")}
    queries = pl.DataFrame(
        {"query_id": numbered("q", counts["queries"]), "text": numbered("query ", counts["queries"])}
    )
    corpus = pl.DataFrame({"doc_id": numbered("d", counts["documents"]), "text": numbered("doc ", counts["documents"])})
    judged = pl.DataFrame(np.load(folder / "positives.npy"), schema=["query", "document"])
    positives = judged.select(query_id=pl.format("q{}", "query"), doc_id=pl.format("d{}", "document"))
    settings = MiningSettings(depth=DEPTH, negatives_per_query=NEGATIVES)
    teacher = Embedded(folder / "queries.npy", folder / "documents.npy")

    def run() -> np.ndarray:
        table = mine(queries, corpus, positives, teacher=teacher, rule="top_k_perc_pos", ratio=RATIO, settings=settings)
        first = table.filter(pl.col("verdict") == "kept", pl.col("order") <= NEGATIVES)
        number = (pl.col(name).str.slice(1).cast(pl.Int64) for name in ("query_id", "doc_id"))
        return first.select(*number, "student_score").to_numpy()

    return run


def prepare_ours_with_torch(folder: Path) -> Callable[[], np.ndarray]:
    """Return our mining where torch is loaded: it screens in bfloat16 if the CPU multiplies in it."""
    importlib.import_module("torch")
    return prepare_ours(folder)


class StoredModel:
    """What ``mine_hard_negatives`` asks of a model, with the embeddings read from files."""

    device = "cpu"

    def __init__(self, folder: Path) -> None:
        from sentence_transformers import util

        self._folder = folder
        self.similarity = util.dot_score
        self.similarity_pairwise = util.pairwise_dot_score

    def encode_document(self, texts: list[str], **_: object) -> np.ndarray:
        """Return all rows: the corpus keeps its order."""
        return np.load(self._folder / "documents.npy")

    def encode_query(self, texts: list[str], **_: object) -> np.ndarray:
        """Return all rows: the queries keep their order."""
        return np.load(self._folder / "queries.npy")

    def get_embedding_dimension(self) -> int:
        """Return the number of components."""
        return int(np.load(self._folder / "queries.npy", mmap_mode="r").shape[1])


def prepare_sentence_transformers(folder: Path, use_faiss: bool) -> Callable[[], np.ndarray]:
    """Return sentence-transformers' mining in one of its modes."""
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    judged = np.load(folder / "positives.npy").tolist()
    pairs = {
        "query": [f"query {query}" for query, _ in judged],
        "positive": [f"doc {document}" for _, document in judged],
    }
    dataset = Dataset.from_dict(pairs)
    corpus = [f"doc {number}" for number in range(np.load(folder / "documents.npy", mmap_mode="r").shape[0])]
    model = StoredModel(folder)

    def run() -> np.ndarray:
        mined = mine_hard_negatives(
            dataset,
            model,
            corpus=corpus,
            range_max=DEPTH,
            relative_margin=1 - RATIO,
            num_negatives=NEGATIVES,
            use_faiss=use_faiss,
            output_format="triplet",
            output_scores=True,
            verbose=False,
        )
        columns = mined.to_dict()
        numbers = [[int(text.split()[1]) for text in columns[name]] for name in ("query", "negative")]
        rows = np.column_stack([*numbers, [scores[1] for scores in columns["scores"]]])
        return np.unique(rows, axis=0)

    return run


CONTENDERS: dict[str, Callable[[Path], Callable[[], np.ndarray | None]]] = {
    "product": prepare_product,
    "search": prepare_search,
    "ours": prepare_ours,
    "ours_with_torch": prepare_ours_with_torch,
    "st_torch": lambda folder: prepare_sentence_transformers(folder, use_faiss=False),
    "st_faiss": lambda folder: prepare_sentence_transformers(folder, use_faiss=True),
}


def measure(contender: str, folder: Path) -> dict[str, float]:
    """Run one contender in this process; leave what it mined beside the data."""
    run = CONTENDERS[contender](folder)
    started = time.monotonic()
    mined = run()
    seconds = time.monotonic() - started
    if mined is not None:
        np.save(folder / f"{contender}.npy", mined)
    return {"seconds": seconds, "peak_rss_mib": peak_rss_mib()}


def peak_rss_mib() -> float:
    """Return the peak resident memory of this process since it was started (``ru_maxrss`` counts its parent too)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def in_own_process(contender: str, folder: Path, repeats: int) -> dict[str, float]:
    """Return the least seconds and memory of ``repeats`` processes."""
    command = [sys.executable, "-m", "benchmarks.mining", "--measure", contender, "--folder", str(folder)]
    runs = []
    for _ in range(repeats):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    best = {name: round(min(run[name] for run in runs), 2) for name in runs[0]}
    print(f"{contender:>10} {best['seconds']:8.2f} s {best['peak_rss_mib']:8.0f} MiB   {folder.name}", flush=True)
    return best


def same_negatives(folder: Path, one: str, other: str) -> bool:
    """Say whether two contenders chose the same negatives, up to scores that are equal within rounding.

    Where one has a document that the other lacks, its score must be that of the last one chosen or of the threshold.
    """
    left, right = (_by_query(np.load(folder / f"{name}.npy")) for name in (one, other))
    queries, documents = np.load(folder / "queries.npy"), np.load(folder / "documents.npy", mmap_mode="r")
    lowest: dict[int, float] = {}
    for query, document in np.load(folder / "positives.npy").tolist():
        score = float(queries[query] @ documents[document])
        lowest[query] = min(score, lowest.get(query, score))
    for query, reference in lowest.items():
        mine, theirs = left.get(query, {}), right.get(query, {})
        threshold = reference - abs(reference) * (1 - RATIO)
        edges = [threshold, *(min(chosen.values()) for chosen in (mine, theirs) if chosen)]
        for document in mine.keys() ^ theirs.keys():
            score = mine.get(document, theirs.get(document, np.inf))
            if min(abs(score - edge) for edge in edges) > TOLERANCE:
                return False
    return True


def _by_query(rows: np.ndarray) -> dict[int, dict[int, float]]:
    chosen: dict[int, dict[int, float]] = {}
    for query, document, score in rows.tolist():
        chosen.setdefault(int(query), {})[int(document)] = score
    return chosen


def compare(folder: Path, repeats: int) -> dict[str, Any]:
    """Run all contenders on one data set and return their figures and ratios."""
    results = {name: in_own_process(name, folder, repeats) for name in CONTENDERS if name != "search"}
    peers = [results["st_faiss"], results["st_torch"]]
    fastest, smallest = min(peer["seconds"] for peer in peers), min(peer["peak_rss_mib"] for peer in peers)
    return {
        **results,
        "ratio_seconds": round(results["ours"]["seconds"] / fastest, 3),
        "ratio_seconds_with_torch": round(results["ours_with_torch"]["seconds"] / fastest, 3),
        "ratio_to_gemm": round(results["ours"]["seconds"] / results["product"]["seconds"], 3),
        "ratio_memory": round(results["ours"]["peak_rss_mib"] / smallest, 3),
        "same_negatives": all(
            same_negatives(folder, ours, peer)
            for ours in ("ours", "ours_with_torch")
            for peer in ("st_faiss", "st_torch")
        ),
    }


def main() -> None:
    """Make the data, run every contender, print a line for each and the JSON line at the end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mining")
    parser.add_argument("--queries", type=int, default=20_000)
    parser.add_argument("--docs", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--repeats", type=int, default=1, help="runs of each contender, of which the best counts")
    parser.add_argument("--growth", type=int, default=10, help="times the documents for rss_growth")
    parser.add_argument("--measure", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.folder)))
        return
    shape = (options.queries, options.docs, options.dim)
    with tempfile.TemporaryDirectory() as temporary:
        many, one, large = (Path(temporary) / name for name in ("many_positives", "one_positive", "more_documents"))
        make_data(many, *shape, MANY_POSITIVES)
        make_data(one, *shape, 1)
        result = compare(many, options.repeats)
        result["without_the_query_of_500_positives"] = compare(one, options.repeats)
        small_search = in_own_process("search", many, options.repeats)
        make_data(large, options.queries, options.growth * options.docs, options.dim, MANY_POSITIVES)
        large_search = in_own_process("search", large, 1)
    growth = large_search["peak_rss_mib"] / small_search["peak_rss_mib"]
    result |= {"search": small_search, "search_of_more_documents": large_search, "rss_growth": round(growth, 3)}
    print(json.dumps({"benchmark": "mining", "shape": shape, **result}))


if __name__ == "__main__":
    main()
