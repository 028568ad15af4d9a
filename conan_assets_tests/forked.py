"""Processes that a test may kill and that begin at once: forked from a server that has imported what takes seconds."""

import gc
import multiprocessing
import os
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from conan_assets_tests.processes import free_port

CONTEXT = multiprocessing.get_context("forkserver")
PRELOADED = [
    "conan_assets.definitions",
    "conan_assets.evaluation.release",
    "conan_assets.evaluation.run",
    "conan_assets.mining.hard_negatives",
    "conan_assets.mining.teacher_scores",
    "conan_assets.training.run",
    "dagster._core.storage.event_log",
    "datasets",
    "faiss",
    "matplotlib.figure",
    "mteb",
    "pytest",
    "torch.utils.tensorboard",
    "transformers.models.bert.modeling_bert",
]


def fork(log: Path, target: Callable[..., object], *arguments: object, **environment: str) -> ForkServerProcess:
    """Start ``target`` in a process of its own; what it prints, and the error that ends it, is added to ``log``."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    CONTEXT.set_forkserver_preload(PRELOADED)
    process = CONTEXT.Process(target=_run, args=(log, environment, target, arguments), daemon=True)
    process.start()
    return process


def kill(process: ForkServerProcess) -> None:
    """End a process as the system does when memory runs out."""
    process.kill()
    process.join()


def _run(
    log: Path, environment: Mapping[str, str], target: Callable[..., object], arguments: tuple[object, ...]
) -> None:
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(environment)
    gc.freeze()  # each asset collects garbage, among all that the server has imported
    target(*arguments)


def fork_ranks(count: int, log: Path, target: Callable[..., object], *arguments: object) -> list[ForkServerProcess]:
    """Start ``target`` in ``count`` processes that find one another as those of ``torchrun`` do."""
    everyone = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "CUDA_VISIBLE_DEVICES": ""}
    counts = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    return [
        fork(log, target, *arguments, **everyone, **counts, RANK=str(rank), LOCAL_RANK=str(rank))
        for rank in range(count)
    ]
