"""What the first process of a run writes down: its config, its metrics, its progress, and the report at the end."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import pyarrow.parquet as pq
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers

from conan_assets.files import atomic_path
from conan_assets.progress import Progress
from conan_assets.training.config import TrainingConfig, write_config
from conan_assets.training.metrics import MetricsFile, Record, read_metrics
from conan_assets.training.settings import LossName
from conan_assets.training.state import State
from conan_assets.training.trainer import Trainer

TrainingReport = dict[str, Any]

DYNAMIC_NEGATIVES = "dynamic_negatives_"
REPLACEMENTS = ("negatives_replaced", "replaced_and_trained_on", "negatives_exhausted")
LOSSES = frozenset(get_args(LossName))
SMOOTHING = 0.9
"""Weight of the steps before in the smoothed losses."""
TIMED_STEP = 2
"""The first one that is like all others: it has nothing to warm up."""
PROJECT = "conan_assets"
FOLDER = {"aim": "logging_dir", "tensorboard": "logging_dir", "wandb": "dir"}
"""The argument of a tracker for where its files go."""

logger = logging.getLogger("conan_assets")


class RunLog:
    """The written side of a run, from the state it goes on from."""

    def __init__(self, config: TrainingConfig, resumed_from: State | None) -> None:
        write_config(config)
        self._directory = config.directory
        self._metrics = MetricsFile(config.directory)
        self._metrics.rewind(*((resumed_from.stage, resumed_from.step) if resumed_from else (-1, -1)))
        self._trackers = Trackers(config.trackers, config.directory)
        self._report: TrainingReport = {}
        self._seconds = self._samples = self._tokens = 0.0
        self._step_started = time.monotonic()

    def start_stage(self, trainer: Trainer) -> None:
        """Begin a stage: say what it is about to do."""
        self._progress = Progress(f"training, stage {trainer.stage + 1}", trainer.plan.steps - trainer.step)
        trainer.encoder.pulse = self._progress.pulse
        self._losses: dict[str, float] = {}
        self._report |= {"dtype": str(trainer.dtype).removeprefix("torch."), "device": str(trainer.processes.device)}
        self._report["processes"] = trainer.processes.count
        lengths = trainer.encoder.lengths
        self._report |= {"max_tokens": lengths.limit, "share_of_texts_cut": round(lengths.cut, 4)}
        if trainer.table is not None:
            self._report["hard_negatives_missing"] = trainer.table.missing
        logger.info("training, stage %d: %s", trainer.stage + 1, _describe(trainer))
        self._step_started = time.monotonic()

    def write(self, metrics: Record) -> None:
        """Write a step's metrics and log how the run goes."""
        now = time.monotonic()
        seconds, self._step_started = now - self._step_started, now
        self._seconds += seconds
        self._samples += metrics["samples"]
        self._tokens += metrics["tokens"]
        self._metrics.append({**metrics, "seconds": round(seconds, 4)})
        self._trackers.log(self._metrics.lines, metrics)
        for name in LOSSES & metrics.keys():
            self._losses[name] = metrics[name] + SMOOTHING * (self._losses.get(name, metrics[name]) - metrics[name])
        losses = "".join(f"{name} {value:.3f}, " for name, value in sorted(self._losses.items()))
        self._progress.advance(
            detail=f"smoothed {losses}{self._samples / self._seconds:.1f} samples per second, "
            f"{self._tokens / self._seconds:,.0f} tokens per second"
        )
        if "dev_ndcg_at_10" in metrics:
            logger.info("%s: nDCG@10 on dev is %.2f", self._progress.what, 100 * metrics["dev_ndcg_at_10"])
        if self._progress.done == TIMED_STEP:
            left = seconds * (self._progress.total - TIMED_STEP) / 60
            logger.info("%s: a step takes %.1f s, those left about %.0f min", self._progress.what, seconds, left)

    def end_stage(self, trainer: Trainer, seconds_of_saving: float) -> None:
        """Leave a table of what became of each sample's hard negatives, if they were replaced, and whether in vain."""
        self._report["seconds_of_saving"] = self._report.get("seconds_of_saving", 0.0) + round(seconds_of_saving, 2)
        if trainer.table is None or trainer.data.retrieval is None or trainer.settings.dynamic_negatives.rule == "none":
            return
        path = self._directory / f"{DYNAMIC_NEGATIVES}{trainer.stage + 1}.parquet"
        with atomic_path(path) as temporary:
            pq.write_table(trainer.table.to_arrow(trainer.data.retrieval), temporary)
        replaced, trained_on = self._sums(trainer.stage, "negatives_replaced", "replaced_and_trained_on")
        if replaced and not trained_on:
            logger.warning(
                "training, stage %d: %s hard negatives were replaced and none was trained on, since no sample was "
                "drawn again; give more epochs or steps, or dynamic_negatives the rule none",
                trainer.stage + 1,
                f"{replaced:,}",
            )

    def _sums(self, stage: int, *names: str) -> list[int]:
        records = [record for record in read_metrics(self._directory) if record["stage"] == stage]
        return [int(sum(record.get(name, 0) for record in records)) for name in names]

    def close(self) -> TrainingReport:
        """Finish the trackers and return the report."""
        self._trackers.close()
        records = read_metrics(self._directory)
        tenth = max(1, len(records) // 10)
        seconds = sum(record["seconds"] for record in records)
        return {
            "steps": len(records),
            "first_loss": _mean([record["loss"] for record in records[:tenth]]),
            "final_loss": _mean([record["loss"] for record in records[-tenth:]]),
            "seconds": round(seconds, 2),
            "samples_per_second": round(sum(record["samples"] for record in records) / seconds, 2),
            "tokens_per_second": round(sum(record["tokens"] for record in records) / seconds, 1),
            **{name: int(sum(record.get(name, 0) for record in records)) for name in REPLACEMENTS},
            **self._report,
        }


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _describe(trainer: Trainer) -> str:
    """Return what a stage will do: steps, batch, length of texts, memory."""
    plan, encoder, lengths = trainer.plan, trainer.encoder, trainer.encoder.lengths
    sizes = ((plan.retrieval_size, "queries"), (plan.sts_size, "sentence pairs"))
    batch = " and ".join(f"{size} {name}" for size, name in sizes if size)
    kept = "all activations" if encoder.tokens_kept is None else f"activations of {encoder.tokens_kept:,} tokens"
    if encoder.tokens_kept is not None and encoder.bytes_per_token:
        kept += f" ({encoder.tokens_kept * encoder.bytes_per_token / 2**30:.1f} GiB)"
    cut = f"half have {lengths.median} or less, {100 * lengths.cut:.1f} % are cut"
    dtype = str(trainer.dtype).removeprefix("torch.")
    return (
        f"{plan.steps:,} steps of {batch}; texts of up to {lengths.limit} tokens ({cut}); {kept} kept; "
        f"{dtype} on {trainer.processes.device}"
    )


class Trackers:
    """Accelerate's trackers by name; one that is not installed is left out.

    ``tensorboard``, ``aim`` and ``wandb`` write into the run's directory; ``wandb``, ``mlflow`` and ``comet_ml`` send
    to their servers as their own environment variables say.
    """

    def __init__(self, names: Sequence[str], directory: Path) -> None:
        installed = {str(tracker) for tracker in get_available_trackers()}
        for name in set(names) - installed:
            logger.info("training: %s is not installed, so nothing is reported to it", name)
        self._trackers = [_start(name, directory) for name in names if name in installed]

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Report the metrics of ``step``, counted over all stages."""
        for tracker in self._trackers:
            tracker.log(dict(metrics), step=step)

    def close(self) -> None:
        """Let the trackers finish."""
        for tracker in self._trackers:
            tracker.finish()


def _start(name: str, directory: Path) -> GeneralTracker:
    kind = LOGGER_TYPE_TO_CLASS[name]
    tracker = kind(PROJECT, **({FOLDER[name]: str(directory)} if name in FOLDER else {}))
    tracker.start()
    return tracker
