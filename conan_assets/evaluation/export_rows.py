"""What each form of a release costs and finds, measured in one run."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import get_args

import polars as pl

from conan_assets.encoding.encoder import Encoder
from conan_assets.encoding.store import EmbeddingStore
from conan_assets.evaluation.exports import megabytes_of
from conan_assets.evaluation.models import QuantizedStore
from conan_assets.evaluation.report import EvaluationReport
from conan_assets.evaluation.run import evaluate_encoder
from conan_assets.evaluation.settings import DevMetric, SuiteSettings, VectorKind

WHOLE = "float32"
ROUNDS = 3
"""Every form is timed in turn so many times and its best time counts: what else the machine does hits all alike."""
TIMED_TEXTS = 256
BYTES = {"float32": 4.0, "int8": 1.0, "binary": 1 / 8}


@dataclass(frozen=True, kw_only=True)
class ExportRow:
    """A form of the model and of its vectors: ``scores`` from 0 to 1 by split, ``speed`` relative to float32."""

    model: str
    vectors: str
    megabytes: float
    bytes_per_vector: int
    texts_per_second: float
    speed: float
    scores: dict[str, float]


@dataclass(frozen=True)
class Measured:
    """What the forms are scored on: a suite by its metric, and the texts that they are timed with."""

    suites: Mapping[str, SuiteSettings]
    metric: DevMetric
    corpus: pl.DataFrame
    pairs: pl.DataFrame
    texts: Sequence[str]


def measure_exports(
    encoders: Mapping[str, Encoder], folders: Mapping[str, Path], by: Measured, workdir: Path
) -> list[ExportRow]:
    """Score and time every form; the release itself, ``float32``, also with each form of vectors.

    Parameters
    ----------
    encoders, folders
        The forms by name, and where their weights lie.
    workdir
        An empty folder for embeddings and results.
    """
    speeds = _texts_per_second(encoders, by.texts)
    rows = []
    for name, encoder in encoders.items():
        store = EmbeddingStore(workdir / name, "float32")
        kinds: list[VectorKind | None] = [None, *(get_args(VectorKind) if name == WHOLE else ())]
        for kind in kinds:
            used = store if kind is None else QuantizedStore(store, kind)
            report = evaluate_encoder(encoder, used, by.suites, by.corpus, by.pairs, workdir, workdir / "finished")
            vectors = kind or "float32"
            rows.append(
                ExportRow(
                    model=name,
                    vectors=vectors,
                    megabytes=round(megabytes_of(folders[name]), 3),
                    bytes_per_vector=round(encoder.dim * BYTES[vectors]),
                    texts_per_second=round(speeds[name], 1),
                    speed=round(speeds[name] / speeds[WHOLE], 2),
                    scores=_scores(report, by.metric.metric),
                )
            )
    return rows


def _scores(report: EvaluationReport, metric: str) -> dict[str, float]:
    """Return the mean over tasks by split."""
    rows = [row for row in report.rows if row.metric == metric and not row.part_of]
    return {
        split: mean(row.value for row in rows if row.split == split) for split in dict.fromkeys(r.split for r in rows)
    }


def _texts_per_second(encoders: Mapping[str, Encoder], texts: Sequence[str]) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in encoders}
    for encoder in encoders.values():
        encoder.encode(texts[:8], "document")
    for _ in range(ROUNDS):
        for name, encoder in encoders.items():
            started = time.perf_counter()
            encoder.encode(texts, "document")
            seconds[name].append(time.perf_counter() - started)
    return {name: len(texts) / min(each) for name, each in seconds.items()}
