"""A run of the graph in a process of its own that a test may kill; forked from a server that has imported it all."""

import os
import sys
import traceback
from pathlib import Path

import dagster as dg
import datasets
import faiss
import matplotlib.pyplot
import mteb
import sentence_transformers
import tensorboard

from conan_assets.definitions import build_defs
from conan_assets.evaluation import release, run
from conan_assets.mining import hard_negatives, teachers
from conan_assets.settings import Settings
from conan_assets.training import run as training_run

PRELOADED = (
    datasets,
    faiss,
    hard_negatives,
    matplotlib.pyplot,
    mteb,
    release,
    run,
    sentence_transformers,
    teachers,
    tensorboard,
    training_run,
)


def materialize(settings: Settings, error: Path) -> None:
    """Materialize the whole graph; exit with 1, and write what went wrong to ``error``, if it fails."""
    os.setsid()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    job = build_defs(settings).resolve_implicit_global_asset_job_def()
    try:
        with dg.DagsterInstance.ephemeral() as instance:
            job.execute_in_process(instance=instance)
    except Exception:
        error.write_text(traceback.format_exc(), encoding="utf-8")
        sys.exit(1)
