"""A training run from beginning to end, or from where a killed one stopped to the same end."""

import json
import logging
import shutil
import time
from pathlib import Path
from typing import Any

import torch

from conan_assets.artifacts import atomic_path, fingerprint
from conan_assets.progress import Progress
from conan_assets.training.config import TrainingConfig, write_config
from conan_assets.training.data import TrainingData, read_training_data
from conan_assets.training.metrics import MetricsFile, read_metrics
from conan_assets.training.model import load_model, save_model
from conan_assets.training.processes import Processes
from conan_assets.training.state import STATE, State, load_state, save_state
from conan_assets.training.trainer import Trainer

DATA = "data"
REPORT = "report.json"

logger = logging.getLogger("conan_assets")

Report = dict[str, Any]


def train(config: TrainingConfig) -> Report:
    """Train all stages of ``config`` in its directory and return the run's report.

    A finished run is not repeated, a killed one goes on from its last saved state. The model is saved as
    ``model/`` in the directory.

    Raises
    ------
    TrainingDataError
        The files in ``data/`` cannot be trained on.
    StateError
        The directory holds the saved state of another config or other data.
    TrainingDivergedError
        A loss or a gradient is not finite.
    """
    if (config.directory / REPORT).exists():
        logger.info("training: %s is finished", config.directory)
        return json.loads((config.directory / REPORT).read_text(encoding="utf-8"))
    with torch.random.fork_rng():
        return _train(config, Processes())


def _train(config: TrainingConfig, processes: Processes) -> Report:
    directory = config.directory
    run = fingerprint(config.to_json(), _data_files(directory / DATA))
    state = load_state(directory, run)
    data = read_training_data(directory / DATA)
    model = load_model(config.base_model, str(processes.device))
    saver = _Saver(directory, run, processes, resumed_from=state)
    if processes.is_main:
        write_config(config)
    for stage, settings in enumerate(config.stages):
        if state is not None and stage < state.stage:
            continue
        trainer = Trainer(stage, model, config.base_model, data, settings, processes)
        if state is not None and stage == state.stage:
            trainer.restore(state)
        saver.run(trainer, settings.save_every_steps)
        trainer.finish()
    if not processes.is_main:
        return {}
    save_model(model, directory)
    report = saver.report(data) | {"dtype": str(trainer.dtype).removeprefix("torch."), "device": str(processes.device)}
    with atomic_path(directory / REPORT) as path:
        path.write_text(json.dumps(report, indent=1), encoding="utf-8")
    shutil.rmtree(directory / STATE, ignore_errors=True)
    return report


def _data_files(folder: Path) -> list[list[str | int]]:
    return [[path.name, path.stat().st_size] for path in sorted(folder.glob("*.parquet"))]


class _Saver:
    """Runs stages: writes their metrics, logs how it goes, and saves their states."""

    def __init__(self, directory: Path, run: str, processes: Processes, resumed_from: State | None) -> None:
        self._directory = directory
        self._run = run
        self._processes = processes
        self._metrics = MetricsFile(directory)
        self._started = time.monotonic()
        self._samples = self._tokens = 0.0
        self.resumed_from = resumed_from
        if processes.is_main:
            self._metrics.rewind(*((resumed_from.stage, resumed_from.step) if resumed_from else (-1, -1)))

    def run(self, trainer: Trainer, save_every_steps: int) -> None:
        progress = Progress(f"training, stage {trainer.stage + 1}", trainer.plan.steps - trainer.step)
        for metrics in trainer.run():
            if not self._processes.is_main:
                continue
            self._samples += metrics["samples"]
            self._tokens += metrics["tokens"]
            self._metrics.append(metrics | {"seconds": round(self._seconds, 3)})
            progress.advance(detail=self._detail(metrics))
            if trainer.step % save_every_steps == 0 or trainer.step == trainer.plan.steps:
                save_state(self._directory, trainer.state(), self._run)

    def report(self, data: TrainingData) -> Report:
        losses = [record["loss"] for record in read_metrics(self._directory)]
        last = losses[-max(1, len(losses) // 10) :]
        report: Report = {
            "steps": len(losses),
            "first_loss": losses[0],
            "final_loss": sum(last) / len(last),
            "seconds": round(self._seconds, 2),
            "samples_per_second": round(self._samples / self._seconds, 2),
            "tokens_per_second": round(self._tokens / self._seconds, 1),
        }
        if self.resumed_from is not None:
            report["resumed_from_step"] = self.resumed_from.step
        return report

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def _detail(self, metrics: dict[str, float]) -> str:
        rate, tokens = self._samples / self._seconds, self._tokens / self._seconds
        return f"loss {metrics['loss']:.4f}, {rate:.1f} samples per second, {tokens:,.0f} tokens per second"
