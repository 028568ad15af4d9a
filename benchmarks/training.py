"""Train all-MiniLM-L6-v2 on the Python documentation: ``python -m benchmarks.training [--steps 12] [--batch-size 32]``.

Our trainer against sentence-transformers' with its cached and its plain MultipleNegativesRankingLoss: the same model,
samples, hard negatives, batch, length limit, temperature and learning rate, each in a process of its own, one after
the other, ``--repeats`` times. The best run of each counts; its first steps do not.

Ends with one line of JSON: samples per second, peak resident memory and last loss of each;
``ratio_samples_per_second`` (ours in its default type over the cached loss in its default type, float32),
``ratio_same_dtype`` (both in bfloat16), the same against the plain loss; ``ratio_to_keeping_all``, the time with the
default's activations over that of keeping all; ``dynamic_negatives_ratio`` (a step with their bookkeeping over one
without, the median of steps in turn) and ``dynamic_negatives_share`` (what the bookkeeping takes of a step); peak
memory of training 1,024 samples in batches of 32, 128 and 512 with the gradient cache on, and ``memory_growth`` from
the first to the last; ``matmul_share``, the arithmetic of our steps over the measured rate of bare bfloat16 products.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from conan_assets.compare.st_trainer import build_st_trainer
from conan_assets.encoding.settings import EncoderSettings
from conan_assets.training.columns import Lists
from conan_assets.training.negatives import NegativeTable, Replacements
from conan_assets.training.settings import DynamicNegativeSettings, TrainingDtype, TrainingSettings

if TYPE_CHECKING:
    from conan_assets.training.trainer import Trainer

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
CONTENDERS = (
    "ours",
    "ours_keeping_all",
    "ours_float32",
    "st_cached",
    "st_cached_bfloat16",
    "st_plain",
    "st_plain_bfloat16",
)
MEMORY_BATCHES = (32, 128, 512)
MEMORY_SAMPLES = 1_024
WARM_UP_STEPS = 2

Result = dict[str, float]


def make_data(folder: Path, pool: int = 20) -> None:
    """Write the training files: first lines as queries, their documents as positives, random others as candidates."""
    import polars as pl

    from conan_assets.data.python_docs import read_python_docs
    from conan_assets.data.settings import PythonDocsSource

    corpus, pairs = read_python_docs("docs", PythonDocsSource(kind="python_docs"))
    generator = np.random.default_rng(0)
    samples = pairs.group_by("query_id", maintain_order=True).agg(pl.col("query").first(), positives="doc_id")
    candidates = [
        corpus["doc_id"].gather(generator.integers(corpus.height, size=pool)).to_list() for _ in samples["query_id"]
    ]
    data = folder / "data"
    data.mkdir(parents=True)
    corpus.select(text_id="doc_id", text="text").write_parquet(data / "texts.parquet")
    samples = samples.with_columns(candidates=pl.Series(candidates)).rename({"query_id": "sample_id"})
    samples.write_parquet(data / "retrieval.parquet")


def stage(
    arguments: argparse.Namespace, dtype: TrainingDtype = "auto", kept: Literal["auto", "all"] = "auto"
) -> TrainingSettings:
    """Return our settings of the comparison."""
    return TrainingSettings(
        epochs=1_000,
        max_steps=arguments.steps,
        retrieval_batch_size=arguments.batch_size,
        negatives_per_query=arguments.negatives,
        temperature=arguments.temperature,
        max_tokens=arguments.max_tokens,
        learning_rate=arguments.learning_rate,
        losses={"info_nce": 1.0},
        tasks=("retrieval",),
        dtype=dtype,
        tokens_in_memory=kept,
    )


def build_trainer(folder: Path, settings: TrainingSettings, model: str) -> "Trainer":
    """Return our trainer of a model over the data of the benchmark."""
    from conan_assets.training.architecture import ArchitectureSettings
    from conan_assets.training.data import read_training_data
    from conan_assets.training.model import TrainableModel
    from conan_assets.training.processes import Processes
    from conan_assets.training.trainer import Trainer

    processes, base = Processes(), EncoderSettings(model)
    trained = TrainableModel(base, ArchitectureSettings(), str(processes.device), seed=0).model
    data = read_training_data(folder / "data", settings.tasks)
    return Trainer(0, trained, base, data, None, settings, processes)


def train_ours(arguments: argparse.Namespace, dtype: TrainingDtype, kept: Literal["auto", "all"] = "auto") -> Result:
    """Train with our trainer and return its figures."""
    trainer = build_trainer(arguments.folder, stage(arguments, dtype, kept), arguments.model)
    seconds, losses, tokens = [], [], 0.0
    for metrics, elapsed in timed(trainer.run()):
        seconds.append(elapsed)
        losses.append(metrics["loss"])
        tokens += metrics["tokens"] if len(seconds) > WARM_UP_STEPS else 0
    measured = sum(seconds[WARM_UP_STEPS:])
    parameters = sum(p.numel() for n, p in trainer.weights.masters.items() if "embeddings" not in n)
    rate = bare_product_rate(trainer.processes.device.type)
    return figures(seconds, losses, arguments) | {
        "tokens_per_second": tokens / measured,
        "matmul_share": 6 * parameters * tokens / measured / rate,
    }


def train_st(arguments: argparse.Namespace, cached: bool, bfloat16: bool) -> Result:
    """Train with sentence-transformers' trainer and return its figures."""
    import pyarrow.parquet as pq
    from sentence_transformers import SentenceTransformer
    from transformers import TrainerCallback

    from conan_assets.encoding.models import locate_model

    texts = dict(zip(*pq.read_table(arguments.folder / "data" / "texts.parquet").to_pydict().values(), strict=True))
    samples = pq.read_table(arguments.folder / "data" / "retrieval.parquet").to_pydict()
    columns = {"anchor": samples["query"], "positive": [texts[ids[0]] for ids in samples["positives"]]}
    for rank in range(arguments.negatives):
        columns[f"negative_{rank}"] = [texts[ids[rank]] for ids in samples["candidates"]]
    model = SentenceTransformer(str(locate_model(arguments.model)))
    model.max_seq_length = arguments.max_tokens
    stamps: list[float] = []
    losses: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: object, **__: object) -> None:
            stamps.append(time.perf_counter())

        def on_step_end(self, *_: object, **__: object) -> None:
            stamps.append(time.perf_counter())

        def on_log(self, *_: object, logs: dict[str, float] | None = None, **__: object) -> None:
            losses.extend([logs["loss"]] if logs and "loss" in logs else [])

    build_st_trainer(
        model,
        columns,
        arguments.folder / "st",
        steps=arguments.steps,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        temperature=arguments.temperature,
        cached=cached,
        bfloat16=bfloat16,
        callbacks=[Clock()],
    ).train()
    starts, ends = stamps[::2], stamps[1::2]
    seconds = [end - start for start, end in zip([starts[0], *ends], ends, strict=False)]
    return figures(seconds, losses, arguments)


def timed(steps: Iterator[dict[str, float]]) -> Iterator[tuple[dict[str, float], float]]:
    """Yield each step's metrics and seconds."""
    started = time.perf_counter()
    for metrics in steps:
        ended = time.perf_counter()
        yield metrics, ended - started
        started = time.perf_counter()


def figures(seconds: list[float], losses: list[float], arguments: argparse.Namespace) -> Result:
    """Return what is reported of every contender."""
    measured = seconds[WARM_UP_STEPS:]
    return {
        "samples_per_second": arguments.batch_size * len(measured) / sum(measured),
        "peak_rss_mb": peak_rss_mb(),
        "final_loss": statistics.mean(losses[-3:]),
    }


def peak_rss_mb() -> float:
    """Return the most memory that this process has held resident, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def bare_product_rate(device: str) -> float:
    """Return the measured operations per second of bfloat16 products of the model's size."""
    import torch

    rows, size = (2_048, 1_536) if device == "cpu" else (32_768, 4_096)
    left = torch.randn(rows, size, device=device, dtype=torch.bfloat16)
    right = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    best = 0.0
    for _ in range(8):
        started = time.perf_counter()
        for _ in range(4):
            left @ right
        if device == "cuda":
            torch.cuda.synchronize()
        best = max(best, 4 * 2 * rows * size * size / (time.perf_counter() - started))
    return best


class ClockedTable(NegativeTable):
    """A table of negatives that measures its updates."""

    def __init__(self, pools: Lists, negatives_per_query: int, settings: DynamicNegativeSettings) -> None:
        super().__init__(pools, negatives_per_query, settings)
        self.seconds: list[float] = []

    def update(self, step: int, samples: np.ndarray, scores: np.ndarray, positive: np.ndarray) -> Replacements:
        """Update the table and note the seconds."""
        started = time.perf_counter()
        done = super().update(step, samples, scores, positive)
        self.seconds.append(time.perf_counter() - started)
        return done


def compare_dynamic(arguments: argparse.Namespace) -> Result:
    """Take steps with and without dynamic negatives in turn, on the same batches, and compare them.

    The rule is evaluated in full but its floor is out of reach, so that both keep training the same texts.
    """
    rule = DynamicNegativeSettings(rule="v2", v2_floor=-1.0, v2_ceiling=-1.0)
    off, on = (
        build_trainer(arguments.folder, replace(stage(arguments), dynamic_negatives=settings), arguments.model)
        for settings in (DynamicNegativeSettings(), rule)
    )
    assert on.data.retrieval is not None
    table = ClockedTable(on.data.retrieval.candidates, arguments.negatives, rule)
    on.table = on.plan.table = table
    ratios, seconds = [], []
    for step in range(arguments.steps):
        taken = {}
        for trainer in (off, on) if step % 2 else (on, off):
            started = time.perf_counter()
            trainer.train_step()
            taken[trainer] = time.perf_counter() - started
        ratios.append(taken[on] / taken[off])
        seconds.append(taken[off])
    return {
        "dynamic_negatives_ratio": statistics.median(ratios[WARM_UP_STEPS:]),
        "dynamic_negatives_share": statistics.median(table.seconds) / statistics.median(seconds),
    }


def measure_memory(arguments: argparse.Namespace) -> Result:
    """Train the same number of samples whatever the batch, with the activations of one mini-batch; return the peak."""
    import torch

    steps = MEMORY_SAMPLES // arguments.batch_size
    settings = replace(stage(arguments), tokens_in_memory=0, max_steps=steps)
    list(build_trainer(arguments.folder, settings, arguments.model).run())
    cuda = torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None
    return {"peak_mb": cuda or peak_rss_mb()}


def run_worker(name: str, arguments: argparse.Namespace) -> Result:
    """Return the figures of one contender, in this process."""
    workers: dict[str, Callable[[], Result]] = {
        "ours": lambda: train_ours(arguments, "auto"),
        "ours_keeping_all": lambda: train_ours(arguments, "auto", "all"),
        "ours_float32": lambda: train_ours(arguments, "float32"),
        "st_cached": lambda: train_st(arguments, cached=True, bfloat16=False),
        "st_cached_bfloat16": lambda: train_st(arguments, cached=True, bfloat16=True),
        "st_plain": lambda: train_st(arguments, cached=False, bfloat16=False),
        "st_plain_bfloat16": lambda: train_st(arguments, cached=False, bfloat16=True),
        "dynamic": lambda: compare_dynamic(arguments),
        "memory": lambda: measure_memory(arguments),
    }
    return workers[name]()


def in_own_process(name: str, folder: Path, arguments: argparse.Namespace, **changes: int | str) -> Result:
    """Run a worker in a process of its own and return its figures."""
    given = OPTIONS | vars(arguments) | changes
    options = [f"--{key.replace('_', '-')}={given[key]}" for key in OPTIONS]
    command = [sys.executable, "-m", "benchmarks.training", f"--worker={name}", f"--folder={folder}", *options]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        sys.exit(f"{name} failed:\n{finished.stderr[-4000:]}")
    result: Result = json.loads(finished.stdout.splitlines()[-1])
    print(f"{name:>20} {json.dumps(result)}", flush=True)
    return result


def compare(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run everything and return the figures of the last line."""
    best: dict[str, Result] = {}
    for _ in range(arguments.repeats):
        for name in CONTENDERS:
            result = in_own_process(name, folder, arguments)
            if name not in best or result["samples_per_second"] > best[name]["samples_per_second"]:
                best[name] = result
    speed = {name: result["samples_per_second"] for name, result in best.items()}
    memory = {size: in_own_process("memory", folder, arguments, batch_size=size)["peak_mb"] for size in MEMORY_BATCHES}
    return {
        "contenders": best,
        "ratio_samples_per_second": speed["ours"] / speed["st_cached"],
        "ratio_same_dtype": speed["ours"] / speed["st_cached_bfloat16"],
        "ratio_same_dtype_float32": speed["ours_float32"] / speed["st_cached"],
        "ratio_to_keeping_all": speed["ours_keeping_all"] / speed["ours"],
        "ratio_plain": speed["ours"] / speed["st_plain"],
        "ratio_plain_same_dtype": speed["ours"] / speed["st_plain_bfloat16"],
        **in_own_process("dynamic", folder, arguments),
        "peak_mb": memory,
        "memory_growth": memory[MEMORY_BATCHES[-1]] / memory[MEMORY_BATCHES[0]],
    }


OPTIONS = {
    "model": MODEL,
    "steps": 12,
    "batch_size": 32,
    "negatives": 3,
    "max_tokens": 128,
    "temperature": 0.05,
    "learning_rate": 1e-5,
    "repeats": 2,
}


def main() -> None:
    """Run the comparison, or one worker of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    for name, default in OPTIONS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(run_worker(arguments.worker, arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        make_data(Path(folder))
        print(json.dumps(compare(Path(folder), arguments)))


if __name__ == "__main__":
    main()
