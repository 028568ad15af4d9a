"""Encode shards by processes of their own: ``python -m benchmarks.spread [--shards 6] [--repeats 3] [--cores 2]``.

Shards of 4,096 short texts, with all-MiniLM-L6-v2 in bfloat16, by one process that has the cores to itself and by as
many worker processes as there are cores, on the same cores: processes of ``compute.devices``, and workers of a Ray
cluster of one node on 127.0.0.1, given shards by our pool of actors and by Ray Data's ``map_batches``. Each way in a
process of its own, in turn, ``--repeats`` times.

Ends with one line of JSON: for each way the medians of ``seconds`` for all, of ``seconds_per_shard`` (from the first
results on, when all are at work; Ray Data gives nothing before it holds several) and of ``start_seconds`` (until the
first result), and ``overhead``: its seconds per shard over those of ``in_process``, less 1.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from benchmarks.training import MODEL
from conan_assets.compute import IN_PROCESS
from conan_assets.compute.devices import Devices
from conan_assets.compute.ray_cluster import RayCluster
from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.encoding.store import ROWS_PER_SHARD, EncodeTexts

WAYS = ("in_process", "devices", "ray_actors", "ray_data")

Shards = list[list[str]]


def read_shards(count: int) -> Shards:
    """Return shards of distinct texts, first lines of the Python documentation with a number."""
    from conan_assets.data.python_docs import read_python_docs
    from conan_assets.data.settings import PythonDocsSource

    lines = read_python_docs("docs", PythonDocsSource(kind="python_docs"))[1]["query"].unique(maintain_order=True)
    numbers = np.arange(count * ROWS_PER_SHARD).reshape(count, -1)
    return [[f"{lines[number % len(lines)]} {number}" for number in shard] for shard in numbers.tolist()]


def results(way: str, cores: int, work: EncodeTexts, shards: Shards) -> Iterable[Any]:
    """Yield the vectors of each shard as ``way`` computes them."""
    if way == "in_process":
        import torch

        torch.set_num_threads(cores)
        return IN_PROCESS.map(work, shards)
    if way == "devices":
        return Devices(cores).map(work, shards)
    start_ray(cores + (way == "ray_data"))
    return RayCluster(cpus_per_worker=1).map(work, shards) if way == "ray_actors" else by_ray_data(cores, work, shards)


def start_ray(cores: int) -> None:
    """Start a cluster of this process on 127.0.0.1."""
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
    import ray

    ray.init(
        num_cpus=cores,
        include_dashboard=False,
        object_store_memory=500 * 2**20,
        log_to_driver=False,
        logging_level="WARNING",
        _node_ip_address="127.0.0.1",
        _temp_dir=tempfile.mkdtemp(prefix="ray-", dir="/tmp"),
    )


class EncodeBatch:
    """What an actor of Ray Data does with a batch."""

    def __init__(self, work: EncodeTexts) -> None:
        self._work = work

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the vectors of the texts."""
        return {"vectors": self._work(batch["text"].tolist())[0]}


def by_ray_data(cores: int, work: EncodeTexts, shards: Shards) -> Iterator[Any]:
    """Yield the vectors of each shard as Ray Data computes them, in order, a block of rows for each shard."""
    import pyarrow as pa
    import ray

    ray.data.DataContext.get_current().execution_options.preserve_order = True
    tables = [pa.table({"text": shard}) for shard in shards]
    encoded = ray.data.from_arrow(tables).map_batches(
        EncodeBatch,
        fn_constructor_args=(work,),
        batch_size=ROWS_PER_SHARD,
        compute=ray.data.ActorPoolStrategy(size=cores),
        num_cpus=1,
    )
    return iter(encoded.iter_batches(batch_size=ROWS_PER_SHARD))


def measure(way: str, cores: int, count: int) -> dict[str, float]:
    """Return seconds per shard, and until the first results."""
    encoder = Encoder(EncoderSettings(MODEL, dtype="bfloat16", max_tokens=16), "cpu")
    work, shards = EncodeTexts(encoder, "document", encoder.namespace("document")), read_shards(count)
    started = time.perf_counter()
    finished = [time.perf_counter() for _ in results(way, cores, work, shards)]
    begun = 1 if way == "in_process" else cores
    return {
        "seconds_per_shard": (finished[-1] - finished[begun - 1]) / (count - begun),
        "start_seconds": finished[0] - started,
        "seconds": finished[-1] - started,
    }


def compare(ways: list[str], cores: int, shards: int, repeats: int) -> dict[str, dict[str, float]]:
    """Run the ways in turn, each in a process of its own, and return their medians."""
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in ways if way != "devices" or cores > 1}
    for _ in range(repeats):
        for way in runs:
            command = [sys.executable, "-m", "benchmarks.spread", "--measure", way, "--cores", str(cores)]
            pinned = ["taskset", "--cpu-list", ",".join(map(str, sorted(os.sched_getaffinity(0))[:cores]))]
            ended = subprocess.run(
                [*pinned, *command, "--shards", str(shards)], check=True, capture_output=True, text=True
            )
            runs[way].append(json.loads(ended.stdout.splitlines()[-1]))
            print(f"{way:>11} {runs[way][-1]}", flush=True)
    medians = {way: {key: statistics.median(run[key] for run in each) for key in each[0]} for way, each in runs.items()}
    alone = medians["in_process"]["seconds_per_shard"]
    return {way: {**each, "overhead": each["seconds_per_shard"] / alone - 1} for way, each in medians.items()}


def main() -> None:
    """Run the comparison, or one way of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spread", description=__doc__)
    parser.add_argument("--shards", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="in_process among them")
    parser.add_argument("--measure", choices=WAYS, help="this way alone, once, in this process")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.cores, arguments.shards)))
    else:
        print(json.dumps(compare(arguments.ways, arguments.cores, arguments.shards, arguments.repeats)))


if __name__ == "__main__":
    main()
